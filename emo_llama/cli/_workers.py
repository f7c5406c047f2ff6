"""What `emo-llama predict` does with one input, here or in worker processes."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo_llama.errors import EmoLlamaError, WorkerError

if TYPE_CHECKING:
    from emo_llama.recognition.recognizer import EmotionRecognizer
    from emo_llama.records import Result

JOBS_AT_ONCE = 64  # inputs handed to the workers before their results are written


@dataclass(frozen=True)
class Job:
    """How each input is worked on; travels to the worker processes.

    Attributes:
        model (`str`, *optional*):
            Folder or Hub repository; the embedded model by default.
        device (`str`, *optional*):
            Where the model runs.
        faces (`str`):
            `"detect"` or `"none"`.
        question (`str`, *optional*):
            Asked about each face.
        describe (`bool`):
            Whether each face gets a sentence.
        abstain_below (`float`):
            Probability below which a label is not trusted.
        attributes (`str`):
            `"off"` or `"predicted"`.
        prior (`str`, *optional*):
            Operating point of the model; its own by default.
        draw (`bool`):
            Whether landmarks and a picture are wanted.
    """

    model: str | None
    device: str | None
    faces: str
    question: str | None
    describe: bool
    abstain_below: float
    attributes: str
    prior: str | None
    draw: bool

    def settings(self) -> dict[str, Any]:
        """What decides the records, to be kept beside them.

        Returns:
            `dict[str, Any]`: Plain data.
        """
        model = self.model
        if model is not None and os.path.isdir(os.path.expanduser(model)):
            model = os.path.realpath(os.path.expanduser(model))
        return {
            "model": model or "embedded",
            "faces": self.faces,
            "question": self.question,
            "text": self.describe,
            "abstain_below": self.abstain_below,
            "attributes": self.attributes,
            "prior": self.prior,
        }


@dataclass(frozen=True)
class Done:
    """What came out of one input.

    Attributes:
        result (`Result`):
            The faces.
        picture (`bytes`, *optional*):
            The annotated picture, JPEG.
        trouble (`str`, *optional*):
            Why there is none.
    """

    result: "Result"
    picture: bytes | None = None
    trouble: str | None = None


def load(job: Job) -> "EmotionRecognizer":
    """Load the recognizer, with transformers' own messages left out.

    Args:
        job (`Job`):
            What it is for.

    Returns:
        `EmotionRecognizer`: Ready to use.
    """
    from transformers.utils import logging

    from emo_llama.recognition.recognizer import EmotionRecognizer

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return EmotionRecognizer.from_pretrained(
        job.model,
        detector="none" if job.faces == "none" else "auto",
        device=job.device,
        abstain_below=job.abstain_below,
        attributes=job.attributes,
        prior=job.prior,
    )


def work(recognizer: "EmotionRecognizer", job: Job, path: Path) -> Done:
    """Work on one input.

    Args:
        recognizer (`EmotionRecognizer`):
            The model.
        job (`Job`):
            What is wanted.
        path (`Path`):
            The input.

    Returns:
        `Done`: Its result, which may be an error.
    """
    result = recognizer.recognize(path, job.question, job.describe, landmarks=job.draw)
    if not (job.draw and result.faces):
        return Done(result)
    from emo_llama.overlay import annotated_jpeg

    try:
        return Done(result, annotated_jpeg(result))
    except (EmoLlamaError, OSError, ValueError, MemoryError) as error:
        return Done(result, trouble=f"{path}: no annotated picture ({error or 'out of memory'}).")


def results(
    recognizer: "EmotionRecognizer", job: Job, paths: list[Path], workers: int
) -> Iterator[Done]:
    """Work on many inputs, here or in worker processes.

    Args:
        recognizer (`EmotionRecognizer`):
            The model, for what is done here.
        job (`Job`):
            What is wanted.
        paths (`list[Path]`):
            The inputs.
        workers (`int`):
            Processes.

    Yields:
        `Done`: What came out, in the order of the paths.

    Raises:
        WorkerError: A worker ended, as by a kill of the system.
    """
    if workers == 1 or len(paths) < 2:
        yield from (work(recognizer, job, path) for path in paths)
        return
    count = min(workers, len(paths))
    threads = max(1, (os.cpu_count() or 1) // workers)
    waiting = iter(paths)
    try:
        with ProcessPoolExecutor(count, get_context("spawn"), _start, (job, threads)) as pool:
            while batch := list(islice(waiting, JOBS_AT_ONCE)):
                yield from pool.map(_work, batch)
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process was ended from outside, perhaps for want of memory. Run the same "
            "command again with fewer --workers; with --out and --resume it keeps what was done."
        ) from error


_loaded: dict[str, Any] = {}  # what a worker process loaded once; empty in the main process


def _start(job: Job, threads: int) -> None:
    """Load one recognizer a process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C reaches every process of the terminal; one that loads would end in a traceback, and the
    # parent ends it anyway.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(threads)
    _loaded.update(recognizer=load(job), job=job)
    signal.signal(signal.SIGINT, handler)


def _end_with_parent() -> None:
    """A worker that waits for its next input never learns that nobody is left to give one."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(path: Path) -> Done:
    return work(_loaded["recognizer"], _loaded["job"], path)
