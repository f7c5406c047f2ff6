"""Works through the faces of one picture, some at a time, so that a caller can stop between."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from PIL import Image

from emo_llama.boxes import Box
from emo_llama.faces import Detection
from emo_llama.modeling import EmoLlamaEncodings
from emo_llama.recognition.landmarks import place_landmarks
from emo_llama.recognition.tracking import FACES_AT_ONCE
from emo_llama.records import Face

__all__ = ["picture_faces"]


class _Recognizer(Protocol):
    """What of an [`EmotionRecognizer`] is needed here; its methods are described there."""

    def encode(
        self, images: Sequence[Image.Image], boxes: Sequence[Box | None], **settings: Any
    ) -> tuple[EmoLlamaEncodings, Any]: ...
    def score(self, encodings: EmoLlamaEncodings) -> np.ndarray: ...
    def face(self, detection: Detection, row: np.ndarray) -> Face: ...
    def add_texts(
        self, faces: list[Face], encodings: EmoLlamaEncodings, question: str | None
    ) -> list[Face]: ...


def picture_faces(
    recognizer: _Recognizer,
    image: Image.Image,
    found: Sequence[Detection],
    question: str | None = None,
    describe: bool = True,
    landmarks: bool = False,
    at_once: int = FACES_AT_ONCE,
) -> Iterator[list[Face]]:
    """Recognise the expressions of the faces that were found in one opened picture.

    Args:
        recognizer ([`EmotionRecognizer`]):
            The model.
        image (`PIL.Image.Image`):
            The picture, RGB, as displayed.
        found (`Sequence[Detection]`):
            The faces in it.
        question (`str`, *optional*):
            Asked about each face instead of the usual one.
        describe (`bool`, *optional*, defaults to `True`):
            Whether to ask at all; without, `text` stays `None`.
        landmarks (`bool`, *optional*, defaults to `False`):
            Whether to add the landmarks that the model's face network sees.
        at_once (`int`, *optional*, defaults to 32):
            Faces that are looked at together.

    Yields:
        `list[Face]`: The next faces, in the order of `found`.
    """
    for start in range(0, len(found), at_once):
        some = found[start : start + at_once]
        encodings, regions = recognizer.encode([image] * len(some), [d.crop for d in some])
        rows = recognizer.score(encodings)
        faces = [recognizer.face(d, row) for d, row in zip(some, rows, strict=True)]
        if describe:
            faces = recognizer.add_texts(faces, encodings, question)
        if landmarks:
            points = place_landmarks(encodings, regions)
            faces = [replace(face, landmarks=xy) for face, xy in zip(faces, points, strict=True)]
        yield faces
