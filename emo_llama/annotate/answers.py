"""The file that keeps every answer of an endpoint, so that none is paid for twice.

One JSON object a line, appended and forced to the disk as soon as the answer is there. A process
that is killed while it writes leaves a torn last line, which is passed over. Only places of lines
are held in memory, no answers.
"""

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from emo_llama.errors import UsageError

__all__ = ["Answer", "AnswerFile"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request.

    Args:
        key (`str`):
            What was asked, see [`~emo_llama.annotate.request.answer_key`].
        item (`str`):
            Id of the record, for people who read the file.
        status (`str`):
            `"written"`, `"refused"` or `"malformed"`; `"failed"` is never kept.
        turns (`list[tuple[str, str]]`, *optional*):
            Questions and answers of a conversation.
        caption (`str`, *optional*, defaults to `""`):
            The caption of a clip.
        reason (`str`, *optional*, defaults to `""`):
            Why there is nothing to use.
        reply (`str`, *optional*, defaults to `""`):
            The last reply that could not be used.
    """

    key: str
    item: str
    status: str
    turns: tuple[tuple[str, str], ...] = ()
    caption: str = ""
    reason: str = ""
    reply: str = ""


class AnswerFile:
    """Answers by key. Any number of processes may read; one may write.

    Args:
        path (`str` or `Path`):
            The file; it is made when the first answer comes.

    Example:

    ```python
    >>> from emo_llama.annotate.answers import AnswerFile

    >>> "0" * 64 in AnswerFile("answers.jsonl")
    False
    ```
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._places: dict[bytes, int] | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["AnswerFile"], tuple[Path]]:
        """Worker processes read the file themselves."""
        return AnswerFile, (self.path,)

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._index()

    def get(self, key: str) -> Answer | None:
        """The latest answer to what was asked, or `None`."""
        place = self._index().get(bytes.fromhex(key))
        if place is None:
            return None
        with self.path.open("rb") as file:
            file.seek(place)
            return _read(file.readline())

    def unusable(self) -> Iterator[Answer]:
        """Every request that the model refused, or to which no usable reply came."""
        if self.path.is_file():
            with self.path.open("rb") as file:
                for line in file:
                    answer = _read(line)
                    if answer and answer.status != "written" and answer == self.get(answer.key):
                        yield answer

    @contextmanager
    def writing(self) -> Iterator[Callable[[Answer], None]]:
        """Hold the file for writing; gives the function that adds an answer, for any thread.

        Raises:
            UsageError: It cannot be written, or another process is writing it.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise UsageError(
                f"{self.path}: answers cannot be kept here ({error}). Name another file."
            ) from error
        with file, ExitStack() as held:
            try:
                held.enter_context(FileLock(f"{self.path}.lock", timeout=0))
            except Timeout as error:
                raise UsageError(
                    f"{self.path}: another run is writing it. Wait for that one, or name another "
                    "file of answers."
                ) from error
            self._places = None  # what another run wrote before the lock was held counts too
            self._index()
            _end_line(self.path, file)
            yield lambda answer: self._add(file, answer)

    def _add(self, file: BinaryIO, answer: Answer) -> None:
        line = json.dumps(asdict(answer), ensure_ascii=False).encode() + b"\n"
        with self._lock:
            place = file.seek(0, os.SEEK_END)
            file.write(line)
            os.fsync(file.fileno())
            self._index()[bytes.fromhex(answer.key)] = place

    def _index(self) -> dict[bytes, int]:
        """Where the latest line of each key begins, bytes."""
        if self._places is None:
            self._places, torn = {}, 0
            if self.path.is_file():
                with self.path.open("rb") as file:
                    place = 0
                    for line in file:
                        if answer := _read(line):
                            self._places[bytes.fromhex(answer.key)] = place
                        torn += answer is None
                        place += len(line)
            if torn:
                logger.warning(
                    "%s: %d torn lines passed over; what they held is asked again", self.path, torn
                )
        return self._places


def _read(line: bytes) -> Answer | None:
    """The answer on a line; `None` for a line that was not written to its end."""
    try:
        answer = Answer(**json.loads(line))
        bytes.fromhex(answer.key)
    except (ValueError, TypeError):
        return None
    return answer


def _end_line(path: Path, file: BinaryIO) -> None:
    """Let what comes next begin on a line of its own."""
    if path.stat().st_size:
        with path.open("rb") as written:
            written.seek(-1, os.SEEK_END)
            if written.read() != b"\n":
                file.write(b"\n")
