"""What a recognizer answers: which face or which frames a question is about, and one at a time.

The wording of prompts and the generation are `answering`'s part.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from PIL import Image

from emo_llama.boxes import Box
from emo_llama.faces import Detection
from emo_llama.media import media_kind, read_reduced_image, read_video
from emo_llama.modeling import EmoLlamaEncodings, EmoLlamaProcessor
from emo_llama.recognition.answering import Answerer
from emo_llama.recognition.rendering import Turns
from emo_llama.recognition.streaming import AnswerStream, stream_answer
from emo_llama.recognition.tracking import chunks
from emo_llama.records import Face, named_probabilities
from emo_llama.sources import Source

__all__ = ["AskingMixin"]


class _Recognizer(Protocol):
    """What of an [`EmotionRecognizer`] is needed here; its methods are described there."""

    processor: EmoLlamaProcessor
    labels: tuple[str, ...]
    _answerer: Answerer
    _lock: threading.RLock

    def find_faces(self, image: Image.Image) -> list[Detection]: ...
    def encode(
        self, images: Sequence[Image.Image], boxes: Sequence[Box | None], **settings: Any
    ) -> tuple[EmoLlamaEncodings, Any]: ...
    def score(self, encodings: EmoLlamaEncodings) -> np.ndarray: ...
    def ask(self, *about: Any) -> str: ...
    def _prefixes(self, encodings: EmoLlamaEncodings) -> list[str] | None: ...


class AskingMixin:
    """What an [`EmotionRecognizer`] answers about faces and clips."""

    def ask(
        self: _Recognizer,
        source: Source,
        question: str,
        history: Turns | None = None,
        crop: Box | None = None,
        stream: AnswerStream | None = None,
    ) -> str:
        """Answer a question about one face of an image, or about a video.

        Args:
            source ([`Source`]):
                An image, or the path of a video.
            question (`str`):
                The question.
            history (`Sequence[tuple[str, str]]`, *optional*):
                Questions and answers before. By default a question that does not ask for the
                expression itself is asked behind the model's own description of the face, as in
                training.
            crop (`tuple[float, float, float, float]`, *optional*):
                Which face of an image: the `crop` that [`~EmotionRecognizer.find_faces`] gives.
                The largest by default; of a video always the largest of each frame.
            stream ([`~recognition.streaming.AnswerStream`], *optional*):
                Gets the answer as it is written.

        Returns:
            `str`: The model's answer. What it says of how clear the expression is states the
            spread of the probabilities.

        Raises:
            EmoLlamaError: The input cannot be read.
        """
        if isinstance(source, (str, os.PathLike)) and media_kind(source) == "video":
            clip, share = _encode_clip(self, source)
            with self._lock:
                return self._answerer.answer_about_clip(clip, share, question, history, stream)
        face, share = _encode_face(self, source, crop)
        prefixes = self._prefixes(face)
        ask = self._answerer.answer_about_faces
        with self._lock:
            return ask(face, [share], question, prefixes, history, stream)[0]

    def stream(
        self: _Recognizer,
        source: Source,
        question: str,
        history: Turns | None = None,
        crop: Box | None = None,
    ) -> Iterator[str]:
        """Answer a question as [`~EmotionRecognizer.ask`] does, while the model still writes.

        Args:
            source ([`Source`]):
                An image, or the path of a video.
            question (`str`):
                The question.
            history (`Sequence[tuple[str, str]]`, *optional*):
                Questions and answers before.
            crop (`tuple[float, float, float, float]`, *optional*):
                Which face of an image.

        Yields:
            `str`: The next words; together they are what `ask` returns. Closing the generator
            ends the answer at the next token.

        Raises:
            EmoLlamaError: The input cannot be read.

        Example:

        ```python
        >>> import numpy as np
        >>> from emo_llama import EmotionRecognizer
        >>> from emo_llama.testing import tiny_model, tiny_processor

        >>> recognizer = EmotionRecognizer(tiny_model(), tiny_processor(), max_new_tokens=4)
        >>> picture = np.zeros((48, 48, 3), dtype=np.uint8)
        >>> asked = (picture, "What do the eyes show?")
        >>> "".join(recognizer.stream(*asked)) == recognizer.ask(*asked)
        True
        ```
        """
        yield from stream_answer(partial(self.ask, source, question, history, crop))

    def add_texts(
        self: _Recognizer,
        faces: list[Face],
        encodings: EmoLlamaEncodings,
        question: str | None = None,
    ) -> list[Face]:
        """Add the answers to the caller's question, or else the usual sentences.

        Args:
            faces (`list[Face]`):
                Scored faces.
            encodings ([`~emo_llama.modeling.EmoLlamaEncodings`]):
                A row for each.
            question (`str`, *optional*):
                The question.

        Returns:
            `list[Face]`: The faces with `text`.
        """
        shares = [face.probabilities for face in faces]
        prefixes = self._prefixes(encodings)
        with self._lock:
            if question:
                texts = self._answerer.answer_about_faces(encodings, shares, question, prefixes)
            else:
                texts = self._answerer.describe(encodings, shares, prefixes)
        return [replace(face, text=text) for face, text in zip(faces, texts, strict=True)]


def _encode_face(
    recognizer: _Recognizer, source: Source, crop: Box | None = None
) -> tuple[EmoLlamaEncodings, dict[str, float]]:
    """Look at one face of a picture.

    Args:
        recognizer ([`EmotionRecognizer`]):
            Finds and scores faces.
        source ([`Source`]):
            The picture.
        crop (`tuple[float, float, float, float]`, *optional*):
            The face's surroundings, xyxy, pixels, as a [`~emo_llama.faces.Detection`] has them; by
            default those of the largest face, or the whole picture where there is none.

    Returns:
        `tuple[EmoLlamaEncodings, dict[str, float]]`: One row, and the probability of each label.

    Raises:
        EmoLlamaError: The picture cannot be read.
    """
    image, scale = read_reduced_image(source)
    if crop is None:
        found = recognizer.find_faces(image)
        region = found[0].crop if found else None
    else:
        left, top, right, bottom = (value / scale for value in crop)
        region = (left, top, right, bottom)
    encodings, _ = recognizer.encode([image], [region])
    return encodings, named_probabilities(recognizer.labels, recognizer.score(encodings)[0])


def _encode_clip(
    recognizer: _Recognizer, path: str | os.PathLike
) -> tuple[EmoLlamaEncodings, dict[str, float]]:
    """Look at the largest face of each frame of a whole clip.

    Args:
        recognizer ([`EmotionRecognizer`]):
            Finds and scores faces.
        path (`str` or `PathLike`):
            The video.

    Returns:
        `tuple[EmoLlamaEncodings, dict[str, float]]`: A row a sampled frame, and the mean of their
        probabilities of each label.

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
    mean = np.concatenate(rows).mean(axis=0)
    return EmoLlamaEncodings.cat(clip), named_probabilities(recognizer.labels, mean)
