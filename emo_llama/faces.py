"""Finds faces, and landmarks on them, with what is installed.

Decides which detector is used, merges what it finds at several scales, and frames every face the
same way whoever found it: a square from above the brows to the chin, as the crops of FER2013 on
which the small face network learned. Whether that crop is used or a wider one is the processor's
business. Nothing here is downloaded: mediapipe carries its models, scikit-image its cascade.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from emo_llama.boxes import Box, Framing, area, clip, overlap
from emo_llama.errors import MissingDependencyError, UsageError
from emo_llama.mediapipe_graphs import MediapipeGraph

logger = logging.getLogger(__name__)

# mediapipe's OpenCV counts pixels in 16 bits and ends the process where a side is longer.
MAX_SIDE = 32_000

DETECTORS = ("auto", "mediapipe", "cascade", "none")

# For each of the 68 landmarks of the common scheme, the vertex of mediapipe's face mesh that lies
# there: jaw, brows, nose, eyes, outer lips, inner lips.
MESH_TO_68 = (
    *(127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)


# Medians over 400 images of FERPlus' PublicTest split, each found by the detector in question: the
# framing that takes its box to the FER2013 crop. Repeat with any detector by dividing boxes.
FRAMINGS = {
    "mediapipe-near": Framing(scale=1.18, shift=-0.10),
    "mediapipe-far": Framing(scale=1.14, shift=-0.04),
    "cascade": Framing(scale=1.05, shift=-0.01),
}


@dataclass(frozen=True)
class Detection:
    """One face that a detector found.

    Attributes:
        box (`tuple[float, float, float, float]`):
            xyxy, pixels, inside the image.
        score (`float`, *optional*):
            The detector's confidence in [0, 1]; `None` where it gives none.
        crop (`tuple[float, float, float, float]`):
            The canonical square around the face, xyxy, pixels, cut off where the image ends.
    """

    box: Box
    score: float | None
    crop: Box


class FaceDetector(Protocol):
    """Anything that finds faces in an RGB image, for several threads as for one."""

    def detect(self, image: Image.Image) -> list[Detection]:
        """Find the faces, largest first."""


def load_detector(name: str = "auto") -> FaceDetector | None:
    """Load a face detector by name.

    Args:
        name (`str`, *optional*, defaults to `"auto"`):
            `"mediapipe"`, `"cascade"` (scikit-image's, weaker and slower), `"auto"` (mediapipe
            where it works, else the cascade) or `"none"`.

    Returns:
        `FaceDetector` or `None`: The detector; `None` for `"none"`.

    Raises:
        UsageError: There is no detector of this name.
        MissingDependencyError: mediapipe was asked for and is not installed.
    """
    if name not in DETECTORS:
        raise UsageError(f"Expected a detector out of {', '.join(DETECTORS)}, got {name!r}.")
    if name == "none":
        return None
    if name == "cascade" or (name == "auto" and find_spec("mediapipe") is None):
        return CascadeDetector()
    try:
        return MediapipeDetector()
    except MissingDependencyError as error:
        if name == "mediapipe":
            raise
        # Installed but not importable, as on a machine without libGL.
        logger.warning(f"A weaker face detector is used. {error}")
        return CascadeDetector()


class MediapipeDetector:
    """mediapipe's two BlazeFace models, near and far, the far one also on overlapping tiles.

    The models see 128 and 192 pixels whatever the size of the image, so that small faces in a
    large photo are found on tiles only.

    Args:
        min_score (`float`, *optional*, defaults to 0.5):
            Weaker detections are left out.

    Raises:
        MissingDependencyError: mediapipe is not installed.
    """

    # What a second look must give: hands get 0.5 at most, faces 0.7 and more. Many tiles are many
    # chances to be wrong: below 0.8 star fields have faces.
    whole_score, tile_score = 0.65, 0.8

    def __init__(self, min_score: float = 0.5) -> None:
        self.models = {
            name: MediapipeGraph(
                "face_detection.FaceDetection",
                model_selection=number,
                min_detection_confidence=min_score,
            )
            for number, name in enumerate(("mediapipe-near", "mediapipe-far"))
        }

    def detect(self, image: Image.Image) -> list[Detection]:
        """Find the faces of an image.

        Args:
            image (`PIL.Image.Image`):
                The image, RGB.

        Returns:
            `list[Detection]`: The faces, largest first.
        """
        whole = (0.0, 0.0, float(image.width), float(image.height))
        first = [d for name in self.models for d in self._detect_in(image, whole, name)]
        looks = [self._second_look(image, d, self.whole_score) for d in merge_detections(first)]
        found = merge_detections([d for d in looks if d is not None])
        for side in _tile_sides(image.size):
            if found and _small_side(found) > side / 3:
                break  # no face here is small enough that its neighbours may have been missed
            for tile in _tiles(image.size, side):
                candidates = self._detect_in(image, tile, "mediapipe-far")
                uncut = [d for d in candidates if not _cut_by_tile(d.box, tile, image.size)]
                looks = [self._second_look(image, d, self.tile_score) for d in uncut]
                found += [d for d in looks if d is not None]
            found = merge_detections(found)
        return found

    def _second_look(
        self, image: Image.Image, candidate: Detection, min_score: float
    ) -> Detection | None:
        """See a face again from nearby, where its box is also more exact; a hand is not seen."""
        region = clip(Framing(scale=2.5).apply(candidate.box), image.size)
        if area(region) > 0.9 * image.width * image.height:
            return candidate  # the first look was from as near
        seen = self._detect_in(image, region, "mediapipe-near")
        again = [d for d in seen if overlap(d.box, candidate.box) > 0.5]
        return again[0] if again and (again[0].score or 0.0) >= min_score else None

    def _detect_in(self, image: Image.Image, region: Box, name: str) -> list[Detection]:
        """Run one model on one region; boxes come back in pixels of the whole image."""
        left, top, right, bottom = region
        seen = image.crop((int(left), int(top), int(right), int(bottom)))
        width, height = seen.size
        seen.thumbnail((MAX_SIDE, MAX_SIDE))  # boxes come back as shares of it
        pixels = np.array(seen)
        detections = []
        for raw in self.models[name].process(pixels).detections or []:
            rel = raw.location_data.relative_bounding_box
            x, y = left + rel.xmin * width, top + rel.ymin * height
            box = (x, y, x + rel.width * width, y + rel.height * height)
            detections.append(_detection(box, float(raw.score[0]), FRAMINGS[name], image.size))
        return detections


class CascadeDetector:
    """scikit-image's frontal-face cascade: no score, frontal faces only, some false alarms.

    Args:
        working_side (`int`, *optional*, defaults to 480):
            Pixels that the longer side of the image is reduced to.
    """

    smallest = 40  # pixels of the reduced image; the cascade's own window is 24
    agreeing = 9  # windows that must agree: with fewer, cats and gravel have faces

    def __init__(self, working_side: int = 480) -> None:
        from skimage import data
        from skimage.feature import Cascade

        self.cascade = Cascade(data.lbp_frontal_face_cascade_filename())
        self.working_side = working_side

    def detect(self, image: Image.Image) -> list[Detection]:
        """Find the faces of an image.

        Args:
            image (`PIL.Image.Image`):
                The image, RGB.

        Returns:
            `list[Detection]`: The faces, largest first; their score is `None`.
        """
        factor = min(1.0, self.working_side / max(image.size))
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        if min(size) < self.smallest:
            return []
        found = self.cascade.detect_multi_scale(
            np.asarray(image.resize(size)),
            scale_factor=1.1,
            step_ratio=1,
            min_size=(self.smallest, self.smallest),
            max_size=(size[1], size[0]),
            min_neighbor_number=self.agreeing,
        )
        boxes = [
            tuple(v / factor for v in (f["c"], f["r"], f["c"] + f["width"], f["r"] + f["height"]))
            for f in found
        ]
        return merge_detections(
            [_detection(box, None, FRAMINGS["cascade"], image.size) for box in boxes]
        )


def merge_detections(detections: Sequence[Detection]) -> list[Detection]:
    """Keep one detection a face.

    Args:
        detections (`Sequence[Detection]`):
            What several models or tiles found.

    Returns:
        `list[Detection]`: The best-scored of each group that overlaps, largest first.
    """
    kept: list[Detection] = []
    best_first = sorted(detections, key=lambda d: (d.score or 0.0, area(d.box)), reverse=True)
    for detection in best_first:
        if all(overlap(detection.box, other.box) < 0.5 for other in kept):
            kept.append(detection)
    return sorted(kept, key=lambda d: area(d.box), reverse=True)


class FaceMesh:
    """mediapipe's face mesh, reduced to the common 68 landmarks.

    Raises:
        MissingDependencyError: mediapipe is not installed.
    """

    working_side = 192  # the mesh model's own input

    def __init__(self) -> None:
        self.mesh = MediapipeGraph(
            "face_mesh.FaceMesh",
            static_image_mode=True,
            max_num_faces=1,
            min_detection_confidence=0.3,
        )

    def landmarks(self, image: Image.Image, border: int = 24) -> np.ndarray | None:
        """Find the landmarks of the one face that fills an image.

        Args:
            image (`PIL.Image.Image`):
                A face crop, any mode; it is made square.
            border (`int`, *optional*, defaults to 24):
                Black border around the crop, in pixels of the 192 that the mesh sees. The detector
                before the mesh misses faces that touch the border; 0 where the crop has a margin.

        Returns:
            `np.ndarray` of shape (68, 2), float32, or `None`: x and y, -1 at the left and upper
            edge of the image, 1 at the right and lower; `None` where no face is found.
        """
        inner = self.working_side - 2 * border
        resized = image.convert("RGB").resize((inner, inner), Image.Resampling.BICUBIC)
        faces = self.mesh.process(np.array(ImageOps.expand(resized, border))).multi_face_landmarks
        if not faces:
            return None
        points = faces[0].landmark
        xy = np.array([[points[i].x, points[i].y] for i in MESH_TO_68], dtype=np.float32)
        return (xy * self.working_side - border) / inner * 2 - 1  # (68, 2)


def mesh_landmarks(image: Image.Image, border: int = 24) -> np.ndarray | None:
    """Find the 68 landmarks of the one face that fills an image, with mediapipe.

    Args:
        image (`PIL.Image.Image`):
            A face crop, any mode; it is made square.
        border (`int`, *optional*, defaults to 24):
            As in [`FaceMesh.landmarks`].

    Returns:
        `np.ndarray` of shape (68, 2), float32, or `None`: x and y, -1 at the left and upper edge of
        the image, 1 at the right and lower; `None` where no face is found.

    Raises:
        MissingDependencyError: mediapipe is not installed.
    """
    return _shared_mesh().landmarks(image, border)


@lru_cache(maxsize=1)
def _shared_mesh() -> FaceMesh:
    """The mesh of `mesh_landmarks`: loading it takes over a second."""
    return FaceMesh()


def _detection(box: Box, score: float | None, framing: Framing, size: tuple[int, int]) -> Detection:
    """Clip a box to the image and frame the face."""
    return Detection(clip(box, size), score, clip(framing.apply(box), size))


def _small_side(detections: Sequence[Detection]) -> float:
    """The longer side of the smallest face."""
    return min(max(d.box[2] - d.box[0], d.box[3] - d.box[1]) for d in detections)


def _tile_sides(size: tuple[int, int]) -> list[int]:
    """Sides of the square tiles to search, coarse to fine: none below 320 pixels."""
    return [max(size) // n for n in (2, 4) if max(size) // n >= 320]


def _tiles(size: tuple[int, int], side: int) -> Iterator[tuple[int, int, int, int]]:
    """Cover an image with square tiles that overlap by a third."""
    step = side * 2 // 3
    for top in range(0, max(size[1] - side // 3, 1), step):
        for left in range(0, max(size[0] - side // 3, 1), step):
            yield left, top, min(left + side, size[0]), min(top + side, size[1])


def _cut_by_tile(box: Box, tile: Box, size: tuple[int, int]) -> bool:
    """Whether a face touches an inner edge of its tile: the neighbouring tile sees it whole."""
    slack = 2.0
    left = tile[0] > 0 and box[0] < tile[0] + slack
    top = tile[1] > 0 and box[1] < tile[1] + slack
    right = tile[2] < size[0] and box[2] > tile[2] - slack
    bottom = tile[3] < size[1] and box[3] > tile[3] - slack
    return left or top or right or bottom
