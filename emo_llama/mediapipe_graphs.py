"""mediapipe's graphs, so that threads may share them and no picture breaks one for good."""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from emo_llama.errors import MediaError, require

__all__ = ["MediapipeGraph"]


class MediapipeGraph:
    """One of mediapipe's solutions, for several threads, and for other processes when pickled.

    A graph takes one picture at a time, and after an error none any more: calls wait for each
    other, and a graph that failed is built anew.

    Args:
        solution (`str`):
            Module and class, as `"face_mesh.FaceMesh"`.
        options (`dict`):
            For the class.

    Raises:
        MissingDependencyError: mediapipe is not installed.
    """

    def __init__(self, solution: str, **options: Any) -> None:
        self._solution, self._options = solution, options
        self._lock = threading.Lock()
        self._graph = self._build()

    def process(self, pixels: np.ndarray) -> Any:
        """Run the solution on one picture.

        Args:
            pixels (`np.ndarray` of shape (H, W, 3), uint8):
                RGB.

        Returns:
            `Any`: What mediapipe gives.

        Raises:
            MediaError: mediapipe failed on this picture.
        """
        with self._lock:
            try:
                return self._graph.process(pixels)
            except (RuntimeError, ValueError) as error:
                self._graph = self._build()
                raise MediaError(
                    f"the face detector failed on {pixels.shape[1]} x {pixels.shape[0]} pixels "
                    f"({next(iter(str(error).splitlines()), '')}). Save the image again, or look "
                    "at the whole of it with --faces none."
                ) from error

    def _build(self) -> Any:
        module, name = self._solution.split(".")
        cls = getattr(getattr(_mediapipe_solutions(), module), name)
        with _quiet_stderr():
            graph = cls(**self._options)
            # The native library prints its greetings now, or never.
            graph.process(np.zeros((64, 64, 3), dtype=np.uint8))
        return graph

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(MediapipeGraph, self._solution, **self._options), ()


def _mediapipe_solutions() -> Any:
    """Import mediapipe without its notices."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    # Raised inside mediapipe 0.10.14 at every first detection, about its own use of protobuf.
    warnings.filterwarnings("ignore", message="SymbolDatabase.GetPrototype", category=UserWarning)
    with _quiet_stderr():
        return require("mediapipe", extra="faces").solutions


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Silence what a native library writes to the process's stderr, which Python cannot filter."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
