"""From a picture or a clip to named expressions: the one object that users hold.

It joins the parts: reading (`media`), finding faces (`faces`), scoring labels (`scoring`), asking
for a sentence, and following people through a video (`tracking`). It decides the order of these
steps and what becomes of bad input: a record with an error, so that the next input is done.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from emo_llama.boxes import Box, clip, grow
from emo_llama.errors import UsageError
from emo_llama.faces import Detection, FaceDetector, load_detector
from emo_llama.loading import load_model
from emo_llama.media import media_kind, read_reduced_image, read_video
from emo_llama.modeling import EmoLlamaForConditionalGeneration, EmoLlamaProcessor
from emo_llama.recognition.answering import Answerer
from emo_llama.recognition.attributes import check_attributes, predict_sentences
from emo_llama.recognition.scoring import LabelScorer
from emo_llama.recognition.tracking import TrackedPerson, follow_people, view_of
from emo_llama.records import Face, FrameFace, Result, error_record, named_probabilities

Source = str | os.PathLike | bytes | Image.Image | np.ndarray


class EmotionRecognizer:
    """Names and explains the expression of every face in images and videos.

    Use [`~EmotionRecognizer.from_pretrained`] to make one.

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

    Raises:
        UsageError: Attributes are asked of a model that cannot predict them.

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
        self._scorer = LabelScorer(model, processor, self.labels)

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike | None = None,
        detector: str = "auto",
        device: str | torch.device | None = None,
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
            kwargs (`dict`, *optional*):
                For the constructor, as `abstain_below`.

        Returns:
            [`EmotionRecognizer`]: Ready to use.

        Raises:
            ModelNotFoundError: The folder or repository holds no model of this project.
        """
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        loaded, processor = load_model(model)
        return cls(loaded.to(device), processor, load_detector(detector), **kwargs)

    def __call__(
        self,
        source: Source | list[Source] | tuple[Source, ...],
        question: str | None = None,
    ) -> Result | list[Result]:
        """Recognise the expressions in one input or several.

        Args:
            source (`str`, `PathLike`, `bytes`, `PIL.Image.Image`, `np.ndarray` or a list of them):
                Images; videos by path.
            question (`str`, *optional*):
                Asked about each face instead of the usual one; the answer is the face's `text`.

        Returns:
            [`Result`] or `list[Result]`: One an input. What cannot be read has an `error`.
        """
        if isinstance(source, (list, tuple)):
            return [self.recognize(item, question) for item in source]
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
            source (`str`, `PathLike`, `bytes`, `PIL.Image.Image` or `np.ndarray`):
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
        path = str(source) if isinstance(source, (str, os.PathLike)) else None
        kind = "image" if path is None else media_kind(path)
        try:
            if path is not None and kind == "video":
                faces = self._video_faces(path, question, describe)
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
        if not found:
            return []
        images, crops = [image] * len(found), [clip(d.crop, image.size) for d in found]
        faces = [
            self._face(detection, row)
            for detection, row in zip(found, self.score_labels(images, crops), strict=True)
        ]
        if describe:
            texts = self._texts(images, crops, [face.label for face in faces], question)
            faces = [replace(face, text=text) for face, text in zip(faces, texts, strict=True)]
        if landmarks:
            points = self.landmarks(images, crops)
            faces = [replace(face, landmarks=xy) for face, xy in zip(faces, points, strict=True)]
        return faces

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

    def score_labels(
        self,
        images: Sequence[Image.Image],
        boxes: Sequence[Box | None] | None = None,
        batch_size: int = 32,
    ) -> np.ndarray:
        """Give the probability of each label for each picture, by the likelihood of its text.

        Args:
            images (`Sequence[PIL.Image.Image]`):
                Pictures, RGB.
            boxes (`Sequence[tuple[float, float, float, float] | None]`, *optional*):
                The face of each picture, xyxy pixels; without it each whole picture is the face.
            batch_size (`int`, *optional*, defaults to 32):
                Pictures in one pass.

        Returns:
            `np.ndarray` of shape (n, n_labels), float64: In the order of `labels`.
        """
        leads = self._leads(images, boxes, batch_size)
        return self._scorer.score(images, boxes, batch_size, leads)

    def ask(self, source: Source, question: str) -> str:
        """Answer a question about the largest face of an image, or about a video.

        Args:
            source (`str`, `PathLike`, `bytes`, `PIL.Image.Image` or `np.ndarray`):
                An image, or the path of a video.
            question (`str`):
                The question.

        Returns:
            `str`: The model's answer.

        Raises:
            EmoLlamaError: The input cannot be read.
        """
        if isinstance(source, (str, os.PathLike)) and media_kind(source) == "video":
            return self._ask_video(source, question)
        image, _ = read_reduced_image(source)
        found = self.find_faces(image)
        box = clip(found[0].crop, image.size) if found else None
        leads = self._leads([image], [box])
        return self._answerer.answer([image], [box], question, leads=leads)[0]

    @torch.inference_mode()
    def landmarks(
        self, images: Sequence[Image.Image], boxes: Sequence[Box]
    ) -> list[np.ndarray | None]:
        """Place the 68 landmarks of each face with the model's own face network.

        Args:
            images (`Sequence[PIL.Image.Image]`):
                Pictures, RGB.
            boxes (`Sequence[tuple[float, float, float, float]]`):
                The face of each picture, xyxy pixels.

        Returns:
            `list[np.ndarray | None]`: (68, 2) float32, pixels of the picture; `None` each where
            the model has no face network.
        """
        face_model = self.model.model.face_model
        if face_model is None:
            return [None] * len(images)
        image_processor = self.processor.image_processor
        inputs = image_processor(list(images), face_boxes=list(boxes), return_tensors="pt")
        crops = inputs["face_pixel_values"].to(self.model.device, self.model.dtype)
        points = face_model.encode(crops)[2].float().cpu().numpy()  # (n, 68, 2) in [-1, 1]
        regions = [
            grow(box, image_processor.face_margin, image.size)
            for image, box in zip(images, boxes, strict=True)
        ]
        return [
            (xy + 1) / 2 * np.subtract(r[2:], r[:2]) + np.array(r[:2])
            for xy, r in zip(points, regions, strict=True)
        ]

    def _texts(
        self,
        images: Sequence[Image.Image],
        boxes: Sequence[Box],
        labels: Sequence[str],
        question: str | None,
    ) -> list[str]:
        """Answers to the caller's question, or else the usual sentences."""
        leads = self._leads(images, boxes)
        if question:
            return self._answerer.answer(images, boxes, question, leads=leads)
        return self._answerer.describe(images, boxes, labels, leads)

    def _leads(
        self, images: Sequence[Image.Image], boxes: Sequence[Box | None] | None, size: int = 32
    ) -> list[str] | None:
        """What stands before the question of each picture; `None` where nothing does."""
        if self.attributes == "off":
            return None
        return predict_sentences(self.model, self.processor, images, boxes, size)

    def _face(self, detection: Detection, row: np.ndarray) -> Face:
        """One face from its detection and its row of probabilities."""
        confidence = float(row.max())
        return Face(
            box=detection.box,
            detection_score=detection.score,
            label=self.labels[int(row.argmax())],
            probabilities=named_probabilities(self.labels, row),
            confidence=confidence,
            abstained=confidence < self.abstain_below,
        )

    def _ask_video(self, path: str | os.PathLike, question: str) -> str:
        """Answer a question about the largest face of each frame of a whole clip."""
        views = []
        for frame in read_video(path, self.processor.video_fps, self.processor.max_frames):
            faces = self.find_faces(frame.image)
            whole = (0.0, 0.0, float(frame.image.width), float(frame.image.height))
            view = view_of(frame.image, faces[0].crop if faces else whole, None)
            views.append((view.image, view.crop if faces else None))
        return self._answerer.answer_clip([v[0] for v in views], [v[1] for v in views], question)

    def _video_faces(self, path: str, question: str | None, describe: bool) -> list[Face]:
        """Follow each person through a video."""
        image_processor = self.processor.image_processor
        margin = image_processor.face_margin if image_processor.vision_input == "face" else None
        people = follow_people(read_video(path), self.find_faces, self.score_labels, margin)
        faces = [self._tracked_face(number, person) for number, person in people.items()]
        if not describe or not faces:
            return faces
        views = [
            person.best_view(self.labels.index(face.label))[0]
            for person, face in zip(people.values(), faces, strict=True)
        ]
        images, crops = [view.image for view in views], [view.crop for view in views]
        texts = self._texts(images, crops, [face.label for face in faces], question)
        return [replace(face, text=text) for face, text in zip(faces, texts, strict=True)]

    def _tracked_face(self, number: int, person: TrackedPerson) -> Face:
        """One entry for a person: the mean over the frames, and the frame that shows it best."""
        mean = np.mean([row for _, _, row in person.seen], axis=0)
        _, detection = person.best_view(int(mean.argmax()))
        frames = [
            FrameFace(
                time=time,
                box=box,
                label=self.labels[int(row.argmax())],
                probabilities=named_probabilities(self.labels, row),
            )
            for time, box, row in person.seen
        ]
        return replace(self._face(detection, mean), track=number, frames=frames)
