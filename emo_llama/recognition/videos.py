"""What a recognizer does with a video: it follows each person.

Who is who, and what is kept of each frame, is the tracker's business.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from PIL import Image

from emo_llama.boxes import Box
from emo_llama.faces import Detection
from emo_llama.media import read_video
from emo_llama.modeling import EmoLlamaEncodings, EmoLlamaProcessor
from emo_llama.modeling.media_emo_llama import VideoFrame
from emo_llama.recognition.tracking import TrackedPerson, follow_people
from emo_llama.records import Face, FrameFace, named_probabilities

__all__ = ["video_faces"]


class _Recognizer(Protocol):
    """What of an [`EmotionRecognizer`] is needed here; its methods are described there."""

    processor: EmoLlamaProcessor
    labels: tuple[str, ...]

    def find_faces(self, image: Image.Image) -> list[Detection]: ...
    def encode(
        self, images: Sequence[Image.Image], boxes: Sequence[Box | None], **settings: Any
    ) -> tuple[EmoLlamaEncodings, Any]: ...
    def score(self, encodings: EmoLlamaEncodings) -> np.ndarray: ...
    def face(self, detection: Detection, row: np.ndarray) -> Face: ...
    def add_texts(
        self,
        faces: list[Face],
        encodings: EmoLlamaEncodings,
        question: str | None,
    ) -> list[Face]: ...


def video_faces(
    recognizer: _Recognizer, path: str, question: str | None, describe: bool
) -> Generator[VideoFrame, None, list[Face]]:
    """Recognise the expressions of each person in a video.

    Args:
        recognizer ([`EmotionRecognizer`]):
            Finds, scores and describes faces.
        path (`str`):
            The video.
        question (`str`, *optional*):
            Asked about each person instead of the usual one.
        describe (`bool`):
            Whether to ask at all.

    Yields:
        `VideoFrame`: Each frame that is looked at.

    Returns:
        `list[Face]`: One entry a person.

    Raises:
        EmoLlamaError: The video cannot be read.
    """

    def look(images: list[Image.Image], crops: list[Box]) -> tuple[np.ndarray, EmoLlamaEncodings]:
        """Probabilities and encodings of some faces."""
        encodings, _ = recognizer.encode(images, crops)
        return recognizer.score(encodings), encodings

    found = yield from follow_people(read_video(path), recognizer.find_faces, look)
    faces = [_tracked_face(recognizer, number, person) for number, person in found.items()]
    if not describe or not faces:
        return faces
    views = [
        person.best_view(recognizer.labels.index(face.label))[0]
        for person, face in zip(found.values(), faces, strict=True)
    ]
    return recognizer.add_texts(faces, EmoLlamaEncodings.cat(views), question)


def _tracked_face(recognizer: _Recognizer, number: int, person: TrackedPerson) -> Face:
    """One entry for a person: the mean over the frames, and the frame that shows it best."""
    mean = np.mean([row for _, _, row in person.seen], axis=0)
    _, detection = person.best_view(int(mean.argmax()))
    frames = [
        FrameFace(
            time=time,
            box=box,
            label=recognizer.labels[int(row.argmax())],
            probabilities=named_probabilities(recognizer.labels, row),
        )
        for time, box, row in person.seen
    ]
    return replace(recognizer.face(detection, mean), track=number, frames=frames)
