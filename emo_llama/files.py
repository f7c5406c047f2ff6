"""Files and folders that have their name only when they are whole, each written by one run only.

What a run leaves that is killed is a hidden sibling, never half a file under the final name.
"""

import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from emo_llama.errors import EmoLlamaError, UsageError

__all__ = ["atomic_path", "complete_folder", "only_run", "write_text"]

MAX_BYTES = 200
"""Of a name that its hidden siblings repeat; file systems take 255."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A hidden sibling of a file, with its suffix, that takes its place once it is on the disk.

    Args:
        path (`str` or `Path`):
            The file to write; an older one stays until then.

    Yields:
        `Path`: Where to write. What is there is removed where anything is raised.

    Example:

    ```python
    >>> import tempfile
    >>> from pathlib import Path
    >>> from emo_llama.files import atomic_path

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(f"{folder}/table.csv") as partial:
    ...         _ = partial.write_text("a,b")
    ...     [path.name for path in Path(folder).iterdir()]
    ['table.csv']
    ```
    """
    path = Path(path)
    partial = _hidden(path, f"{os.getpid()}.part{path.suffix[:20]}")
    try:
        yield partial
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())  # some file systems say only now that they are full
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all.

    Args:
        path (`str` or `Path`): The file; an older one is replaced.
        text (`str`): What it shall hold.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        with atomic_path(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error}). Name another file.") from error


@contextmanager
def complete_folder(out: Path, replace: bool = False) -> Iterator[Path]:
    """A temporary sibling that is renamed to `out` at the end, or removed on the way.

    What an earlier run has left there that was killed is removed as well.

    Args:
        out (`Path`): The folder to write.
        replace (`bool`, *optional*, defaults to `False`): Let an older folder go at the end;
            otherwise there must be none, or an empty one.

    Yields:
        `Path`: Where to write.

    Raises:
        UsageError: `out` holds something already, cannot be written, or another run writes it.
    """
    with only_run(out, "folder"):
        yield from _complete_folder(out, replace)


def _complete_folder(out: Path, replace: bool) -> Iterator[Path]:
    """As [`complete_folder`], with no other run that writes there."""
    if not replace and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{str(out)!r} exists already. Name a new or empty folder, or remove this one first."
        )
    try:
        prefix = _hidden(out, "part-").name
        for left in out.parent.glob(f"{glob.escape(prefix)}*"):
            shutil.rmtree(left, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))
    except OSError as error:
        raise UsageError(
            f"Cannot write to {str(out.parent)!r}: {error}. Name another folder."
        ) from error
    try:
        yield partial
        partial.chmod(0o755)  # mkdtemp makes folders that only their owner can read
        if replace:
            shutil.rmtree(out, ignore_errors=True)
        partial.replace(out)
    except EmoLlamaError:
        raise
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"Could not write {str(out)!r}: {error}. Make room for it, or name another folder."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def only_run(out: str | Path, option: str = "--out") -> Iterator[None]:
    """Keeps a second run off a file or folder while this one works on it.

    The lock is the system's, so that a killed run leaves none behind.

    Args:
        out (`str` or `Path`): What is written; the lock lies beside it.
        option (`str`, *optional*, defaults to `"--out"`): What names another one.

    Raises:
        UsageError: Another run works on it, or its folder cannot be written.
    """
    out = Path(os.path.abspath(out))
    lock = FileLock(_hidden(out, "lock"), timeout=0)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        if not os.path.exists(lock.lock_file):  # as under /proc, where nothing can be made
            raise UsageError(f"{out}: cannot be written. Name another {option}.") from error
        raise UsageError(
            f"{out}: another run is writing here. Wait for its end, or name another {option}."
        ) from error
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error}). Name another {option}.") from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: nobody else's goes
        lock.release()


def _hidden(path: Path, ending: str) -> Path:
    """A sibling of a name of its own, however long that of the file is."""
    name = path.name
    if len(os.fsencode(name)) > MAX_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}.{ending}")
