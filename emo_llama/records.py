"""What the recognizer returns, and how that is written as a record.

One record an input, the same columns in JSON, Parquet and CSV; the interface of the project fixes
their names. Drawing and writing files is done elsewhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from emo_llama.boxes import Box
from emo_llama.errors import EmoLlamaError
from emo_llama.escaping import escape, printable

NEXT_STEP = "Open it in another program and save it again, or leave it out."


@dataclass(frozen=True)
class FrameFace:
    """One face in one frame of a video.

    Attributes:
        time (`float`):
            Seconds from the start of the video.
        box (`tuple[float, float, float, float]`):
            xyxy, pixels of the frame as displayed.
        label (`str`):
            The most probable expression.
        probabilities (`dict[str, float]`):
            Of each of the model's labels, in its order; they sum to 1.
    """

    time: float
    box: Box
    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Face:
    """One face of an image, or one tracked person of a video.

    Attributes:
        box (`tuple[float, float, float, float]`):
            xyxy, pixels of the input as displayed; in a video that of the frame that shows the
            expression best.
        detection_score (`float`, *optional*):
            The detector's confidence in [0, 1]; `None` where it gives none.
        label (`str`):
            The most probable expression; of a person in a video, by the mean over the frames.
        probabilities (`dict[str, float]`):
            Of each of the model's labels, in its order; they sum to 1.
        confidence (`float`):
            The probability of `label`.
        abstained (`bool`):
            Whether `confidence` is below what the caller asked for.
        text (`str`, *optional*):
            What the model says about the face.
        track (`int`, *optional*):
            The person's number in a video, from 0.
        frames (`list[FrameFace]`, *optional*):
            The person's appearances in a video, in order of time.
        landmarks (`np.ndarray` of shape (68, 2), *optional*):
            Pixels, as the model's face network placed them. Not part of the record.
    """

    box: Box
    detection_score: float | None
    label: str
    probabilities: dict[str, float]
    confidence: float
    abstained: bool = False
    text: str | None = None
    track: int | None = None
    frames: list[FrameFace] | None = None
    landmarks: np.ndarray | None = field(default=None, repr=False, compare=False)

    def scaled(self, factor: float) -> "Face":
        """Give the face of an image in the pixels of the same image in another size.

        Args:
            factor (`float`):
                By which the image is larger.

        Returns:
            [`Face`]: With box and landmarks multiplied.
        """
        if factor == 1.0:
            return self
        left, top, right, bottom = (value * factor for value in self.box)
        points = None if self.landmarks is None else self.landmarks * factor
        return replace(self, box=(left, top, right, bottom), landmarks=points)

    def to_dict(self) -> dict[str, Any]:
        """Give the face as plain data.

        Returns:
            `dict[str, Any]`: Ready for JSON.
        """
        frames = self.frames
        return {
            "box": _rounded(self.box),
            "detection_score": self.detection_score,
            "label": self.label,
            "probabilities": dict(self.probabilities),
            "confidence": self.confidence,
            "abstained": self.abstained,
            "text": self.text,
            "track": self.track,
            "frames": None
            if frames is None
            else [{**asdict(frame), "box": _rounded(frame.box)} for frame in frames],
        }


@dataclass(frozen=True)
class Result:
    """What was found in one input.

    Attributes:
        path (`str`, *optional*):
            The input's path; `None` for pixels and bytes. In the record a name that is not UTF-8
            is escaped; [`~emo_llama.escaping.unescape`] gives it back.
        kind (`str`):
            `"image"` or `"video"`.
        error (`dict[str, str]`, *optional*):
            `type` and `message` of what went wrong; `None` for an input that could be read.
        faces (`list[Face]`):
            The faces, largest first; empty where none was found.
    """

    path: str | None
    kind: str
    error: dict[str, str] | None = None
    faces: list[Face] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Give the result as plain data.

        Returns:
            `dict[str, Any]`: Ready for JSON.

        Example:
        ```python
        >>> from emo_llama import Result

        >>> Result(path="a.jpg", kind="image").to_dict()
        {'path': 'a.jpg', 'kind': 'image', 'error': None, 'faces': []}
        ```
        """
        return {
            "path": None if self.path is None else escape(self.path),
            "kind": self.kind,
            "error": self.error,
            "faces": [face.to_dict() for face in self.faces],
        }


def error_record(error: Exception, path: str | None = None) -> dict[str, str]:
    """Write an exception as the `error` of a record.

    Args:
        error (`Exception`):
            What was raised.
        path (`str`, *optional*):
            The input, which the message then names.

    Returns:
        `dict[str, str]`: Its `type`, and its `message`: one line, the next step at its end.
    """
    message = str(error)
    if isinstance(error, MemoryError):
        message = "not enough memory for this input. Save it smaller, or use fewer workers."
    elif not isinstance(error, EmoLlamaError):
        reason = f"{type(error).__name__}: {message}" if message else type(error).__name__
        message = f"this input could not be worked on ({reason}). {NEXT_STEP}"
    if path is not None and not message.startswith((path, str(Path(path)))):
        message = f"{path}: {message}"
    return {"type": type(error).__name__, "message": printable(message)}


def named_probabilities(labels: Sequence[str], values: Iterable[float]) -> dict[str, float]:
    """Pair the labels with their probabilities.

    Args:
        labels (`Sequence[str]`):
            The model's labels.
        values (`Iterable[float]`):
            Their probabilities, in the same order.

    Returns:
        `dict[str, float]`: Plain floats by label, in order.
    """
    return {label: float(value) for label, value in zip(labels, values, strict=True)}


def _rounded(box: Box) -> list[float]:
    """A box as the record holds it: a hundredth of a pixel is enough."""
    return [round(float(value), 2) for value in box]
