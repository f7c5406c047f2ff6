"""What a recognizer does with a video: it follows each person, or answers about the whole clip.

Who is who, and what is kept of each frame, is the tracker's business.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from PIL import Image

from emo_llama.boxes import Box
from emo_llama.faces import Detection
from emo_llama.media import read_video
from emo_llama.modeling import EmoLlamaEncodings, EmoLlamaProcessor
from emo_llama.prompts import clarity_sentence, restate_clarity
from emo_llama.recognition.answering import likeliest
from emo_llama.recognition.tracking import TrackedPerson, chunks, follow_people
from emo_llama.records import Face, FrameFace, named_probabilities

__all__ = ["ask_about_video", "video_faces"]


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
    def answer_clip(
        self,
        encodings: EmoLlamaEncodings,
        question: str,
        history: Sequence[tuple[str, str]] | None,
    ) -> str: ...


def video_faces(
    recognizer: _Recognizer, path: str, question: str | None, describe: bool
) -> list[Face]:
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

    Returns:
        `list[Face]`: One entry a person.

    Raises:
        EmoLlamaError: The video cannot be read.
    """

    def look(images: list[Image.Image], crops: list[Box]) -> tuple[np.ndarray, EmoLlamaEncodings]:
        """Probabilities and encodings of some faces."""
        encodings, _ = recognizer.encode(images, crops)
        return recognizer.score(encodings), encodings

    found = follow_people(read_video(path), recognizer.find_faces, look)
    faces = [_tracked_face(recognizer, number, person) for number, person in found.items()]
    if not describe or not faces:
        return faces
    views = [
        person.best_view(recognizer.labels.index(face.label))[0]
        for person, face in zip(found.values(), faces, strict=True)
    ]
    return recognizer.add_texts(faces, EmoLlamaEncodings.cat(views), question)


def ask_about_video(
    recognizer: _Recognizer,
    path: str | os.PathLike,
    question: str,
    history: Sequence[tuple[str, str]] | None = None,
) -> str:
    """Answer a question about the largest face of each frame of a whole clip.

    Args:
        recognizer ([`EmotionRecognizer`]):
            Finds and scores faces, and answers.
        path (`str` or `PathLike`):
            The video.
        question (`str`):
            The question.
        history (`Sequence[tuple[str, str]]`, *optional*):
            Questions and answers before.

    Returns:
        `str`: The answer; how clear it calls the expression follows the mean over the frames.

    Raises:
        EmoLlamaError: The video cannot be read.
    """
    processor = recognizer.processor
    # A tower that sees whole pictures sees frames cropped, where pictures are padded.
    is_alike = processor.image_processor.vision_input == "face"
    clip, rows = [], []
    for chunk in chunks(read_video(path, processor.video_fps, processor.max_frames)):
        images = [frame.image for frame in chunk]
        found = [recognizer.find_faces(image) for image in images]
        boxes = [faces[0].crop if faces else None for faces in found]
        encodings, _ = recognizer.encode(images, boxes, do_pad=False)
        clip.append(encodings)
        stills = encodings if is_alike else recognizer.encode(images, boxes)[0]
        rows.append(recognizer.score(stills))
    text = recognizer.answer_clip(EmoLlamaEncodings.cat(clip), question, history)
    mean = np.concatenate(rows).mean(axis=0)
    shares = named_probabilities(recognizer.labels, mean)
    return restate_clarity(text, clarity_sentence(shares, likeliest(shares)))


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
