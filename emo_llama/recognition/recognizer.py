"""From a picture or a clip to named expressions: the one object that users hold.

It joins the parts: reading (`media`), finding faces (`faces`), scoring labels (`scoring`), asking
for a sentence, and following people through a video (`videos`). It decides the order of these
steps and what becomes of bad input: a record with an error, so that the next input is done.
"""

import os
import threading
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from emo_llama.boxes import Box
from emo_llama.errors import UsageError
from emo_llama.faces import Detection, FaceDetector, load_detector
from emo_llama.loading import load_model
from emo_llama.media import media_kind, read_reduced_image
from emo_llama.modeling import (
    EmoLlamaEncodings,
    EmoLlamaForConditionalGeneration,
    EmoLlamaProcessor,
)
from emo_llama.modeling.media_emo_llama import VideoFrame
from emo_llama.recognition.answering import Answerer
from emo_llama.recognition.asking import AskingMixin
from emo_llama.recognition.attributes import attribute_sentences, check_attributes
from emo_llama.recognition.encoding import encode_pictures
from emo_llama.recognition.pictures import picture_faces
from emo_llama.recognition.scoring import LabelScorer
from emo_llama.recognition.tracking import finish
from emo_llama.recognition.videos import video_faces
from emo_llama.records import Face, Result, error_record, named_probabilities
from emo_llama.sources import Source


class EmotionRecognizer(AskingMixin):
    """Names and explains the expression of every face in images and videos.

    Use [`~EmotionRecognizer.from_pretrained`] to make one. Several threads may share it: they take
    turns at the model. It can be pickled.

    Args:
        model ([`~emo_llama.modeling.EmoLlamaForConditionalGeneration`]):
            The model.
        processor ([`~emo_llama.modeling.EmoLlamaProcessor`]):
            Its processor.
        detector (`FaceDetector`, *optional*):
            What finds the faces; `None`: each whole image is a face.
        abstain_below (`float`, *optional*, defaults to 0.0):
            Faces whose best label is less probable than this are marked as abstained.
        max_new_tokens (`int`, *optional*, defaults to 64):
            The longest answer, tokens.
        attributes (`str`, *optional*, defaults to `"off"`):
            `"predicted"` puts apparent age, gender and race, as the face network guesses them,
            before each question about a picture; for models that were tuned so.
        prior (`str`, *optional*):
            Name of one of the checkpoint's operating points, as `"balanced"`, which names rare
            expressions more often; the checkpoint's own choice by default.

    Raises:
        UsageError: Attributes are asked of a model that cannot predict them, or the checkpoint has
            no operating point of that name.

    Example:
    ```python
    >>> import numpy as np
    >>> from emo_llama import EmotionRecognizer
    >>> from emo_llama.testing import tiny_model, tiny_processor

    >>> recognizer = EmotionRecognizer(tiny_model(), tiny_processor())
    >>> result = recognizer(np.zeros((48, 48, 3), dtype=np.uint8))
    >>> len(result.faces), len(result.faces[0].probabilities)
    (1, 8)
    ```
    """

    def __init__(
        self,
        model: EmoLlamaForConditionalGeneration,
        processor: EmoLlamaProcessor,
        detector: FaceDetector | None = None,
        abstain_below: float = 0.0,
        max_new_tokens: int = 64,
        attributes: str = "off",
        prior: str | None = None,
    ) -> None:
        if attributes == "predicted":
            check_attributes(model)
        self.attributes = attributes
        self.model = model.eval()
        self.processor = processor
        self.detector = detector
        self.abstain_below = abstain_below
        self.labels = tuple(label for _, label in sorted(model.config.id2label.items()))
        self._answerer = Answerer(model, processor, max_new_tokens)
        self._scorer = LabelScorer(model, processor, self.labels, prior)
        self._lock = threading.RLock()  # a fast tokenizer serves one thread at a time

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the lock, so that a recognizer can be sent to another process."""
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take everything over, with a lock of its own."""
        self.__dict__.update(state, _lock=threading.RLock())

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike | None = None,
        detector: str = "auto",
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        device_map: str | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> "EmotionRecognizer":
        """Load a recognizer.

        Args:
            model (`str` or `PathLike`, *optional*):
                A folder that holds a model of this project, or a Hub repository. The embedded
                model by default; only a Hub repository needs the network.
            detector (`str`, *optional*, defaults to `"auto"`):
                `"mediapipe"`, `"cascade"`, `"auto"` (the best that is installed), or `"none"`:
                each whole image is a face.
            device (`str` or `torch.device`, *optional*):
                Where the model runs; the GPU where there is one, by default.
            dtype (`str` or `torch.dtype`, *optional*):
                Type of the weights, as `"bfloat16"`; that of the checkpoint, by default.
            device_map (`str` or `dict`, *optional*):
                Where each part of the model runs, as accelerate takes it, in place of `device`.
            kwargs (`dict`, *optional*):
                For the constructor, as `abstain_below`.

        Returns:
            [`EmotionRecognizer`]: Ready to use.

        Raises:
            ModelNotFoundError: The folder or repository holds no model of this project.
            UsageError: There is no such device or type.
        """
        loaded, processor = load_model(model, device, dtype=dtype, device_map=device_map)
        return cls(loaded, processor, load_detector(detector), **kwargs)

    def __call__(
        self,
        source: Source | list[Source] | tuple[Source, ...],
        question: str | None = None,
    ) -> Result | list[Result]:
        """Recognise the expressions in one input or several.

        Args:
            source ([`Source`] or a list of them):
                Images as paths, bytes, open files, dictionaries of `datasets`, PIL images, arrays
                or tensors; videos by path.
            question (`str`, *optional*):
                Asked about each face instead of the usual one; the answer is the face's `text`.

        Returns:
            [`Result`] or `list[Result]`: One an input. What cannot be read has an `error`.
        """
        if isinstance(source, (list, tuple)):
            bar = tqdm(source, "recognize", leave=False, disable=None)  # on terminals only
            return [self.recognize(item, question) for item in bar]
        return self.recognize(source, question)

    def recognize(
        self,
        source: Source,
        question: str | None = None,
        describe: bool = True,
        landmarks: bool = False,
    ) -> Result:
        """Recognise the expressions in one input.

        Args:
            source ([`Source`]):
                An image, or the path of a video.
            question (`str`, *optional*):
                Asked about each face instead of the usual one.
            describe (`bool`, *optional*, defaults to `True`):
                Whether to ask at all; without, `text` stays `None` and all is faster.
            landmarks (`bool`, *optional*, defaults to `False`):
                Whether to add the landmarks that the model's face network sees; images only.

        Returns:
            [`Result`]: Its `error` says why an input could not be read.

        Raises:
            UsageError: The input is of no type that is known here.
        """
        return finish(self.watch(source, question, describe, landmarks))

    def watch(
        self,
        source: Source,
        question: str | None = None,
        describe: bool = True,
        landmarks: bool = False,
    ) -> Generator[VideoFrame, None, Result]:
        """Recognise as [`~EmotionRecognizer.recognize`] does, one step at a time.

        For programs that show how far a video is, or end it before it is done: close the generator.

        Args:
            source ([`Source`]):
                An image, or the path of a video.
            question (`str`, *optional*):
                As in [`~EmotionRecognizer.recognize`], like the others.
            describe (`bool`, *optional*, defaults to `True`):
                Whether to ask at all.
            landmarks (`bool`, *optional*, defaults to `False`):
                Whether to add the landmarks.

        Yields:
            `VideoFrame`: Each frame of a video that is looked at, with its `time` and the video's
            `duration`; nothing for an image.

        Returns:
            [`Result`]: What `recognize` returns, as the value of the `StopIteration`.

        Raises:
            UsageError: The input is of no type that is known here.
        """
        path = str(source) if isinstance(source, (str, os.PathLike)) else None
        kind = "image" if path is None else media_kind(path)
        try:
            if path is not None and kind == "video":
                faces = yield from video_faces(self, path, question, describe)
            else:
                image, scale = read_reduced_image(source)
                faces = self.image_faces(image, question, describe, landmarks)
                faces = [face.scaled(scale) for face in faces]
        except UsageError:
            raise
        except Exception as error:  # whatever one input raises: the next is done all the same
            return Result(path=path, kind=kind, error=error_record(error, path))
        return Result(path=path, kind=kind, faces=faces)

    def image_faces(
        self,
        image: Image.Image,
        question: str | None = None,
        describe: bool = True,
        landmarks: bool = False,
    ) -> list[Face]:
        """Recognise the expressions in one opened image.

        Args:
            image (`PIL.Image.Image`):
                The image, RGB, as displayed.
            question (`str`, *optional*):
                Asked about each face instead of the usual one.
            describe (`bool`, *optional*, defaults to `True`):
                Whether to ask at all; without, `text` stays `None`.
            landmarks (`bool`, *optional*, defaults to `False`):
                Whether to add the landmarks that the model's face network sees.

        Returns:
            `list[Face]`: Largest first; empty where no face was found.
        """
        found = self.find_faces(image)
        parts = picture_faces(self, image, found, question, describe, landmarks)
        return [face for part in parts for face in part]

    def find_faces(self, image: Image.Image) -> list[Detection]:
        """Find the faces of an image.

        Args:
            image (`PIL.Image.Image`):
                The image, RGB.

        Returns:
            `list[Detection]`: Largest first; without a detector, the whole image.
        """
        if self.detector is not None:
            return self.detector.detect(image)
        whole = (0.0, 0.0, float(image.width), float(image.height))
        return [Detection(box=whole, score=None, crop=whole)]

    def encode(
        self,
        images: Sequence[Image.Image | EmoLlamaEncodings],
        boxes: Sequence[Box | None] | None = None,
        **settings: Any,
    ) -> tuple[EmoLlamaEncodings, torch.Tensor | None]:
        """Look at pictures, as [`~recognition.encoding.encode_pictures`] does, or take its rows."""
        stored = [image for image in images if isinstance(image, EmoLlamaEncodings)]
        if stored:
            return EmoLlamaEncodings.cat(stored).to(self.model.device), None
        with self._lock:
            return encode_pictures(self.model, self.processor, images, boxes, **settings)

    def score(self, encodings: EmoLlamaEncodings, batch_size: int = 32) -> np.ndarray:
        """Score the labels for each row, as [`~EmotionRecognizer.score_labels`] does."""
        with self._lock:
            return self._scorer.score(encodings, batch_size, self._prefixes(encodings))

    def score_labels(
        self,
        images: Sequence[Image.Image | EmoLlamaEncodings],
        boxes: Sequence[Box | None] | None = None,
        batch_size: int = 32,
    ) -> np.ndarray:
        """Give the probability of each label for each picture, by the likelihood of its text.

        Args:
            images (`Sequence[PIL.Image.Image]` or `Sequence[EmoLlamaEncodings]`):
                Pictures, RGB, or their encodings.
            boxes (`Sequence[tuple[float, float, float, float] | None]`, *optional*):
                The face of each picture, xyxy pixels; without it each whole picture is the face.
            batch_size (`int`, *optional*, defaults to 32):
                Pictures in one pass.

        Returns:
            `np.ndarray` of shape (n, n_labels), float64: In the order of `labels`.
        """
        scores = np.empty((len(images), len(self.labels)))
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            encodings, _ = self.encode(images[part], None if boxes is None else boxes[part])
            scores[part] = self.score(encodings, batch_size)
        return scores

    def _prefixes(self, encodings: EmoLlamaEncodings) -> list[str] | None:
        """What stands before the question of each picture; `None` where nothing does."""
        return None if self.attributes == "off" else attribute_sentences(encodings)

    def face(self, detection: Detection, row: np.ndarray) -> Face:
        """Make the record of one face.

        Args:
            detection (`Detection`):
                Where it is.
            row (`np.ndarray` of shape (n_labels,)):
                Its probabilities.

        Returns:
            [`Face`]: Without text.
        """
        confidence = float(row.max())
        return Face(
            box=detection.box,
            detection_score=detection.score,
            label=self.labels[int(row.argmax())],
            probabilities=named_probabilities(self.labels, row),
            confidence=confidence,
            abstained=confidence < self.abstain_below,
        )
