"""What can be measured on a face from its 68 landmarks, and the words for it.

Every measure is relative to the size of the face and free of its roll. A word says where the face
lies among others: below the lower third, between, or above the upper third of FERPlus' training
faces. Nothing here says what a measure means for an expression; that is the annotator's part.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from types import MappingProxyType

import numpy as np

__all__ = ["MEASURES", "TERCILES", "TURNED", "FaceGeometry", "level", "terciles"]

# Landmarks follow the 68-point order of iBUG 300-W: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47,
# outer lips 48-59, inner lips 60-67.
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)
RIGHT_BROW, LEFT_BROW = slice(17, 22), slice(22, 27)
NOSE_TIP, NOSE_BASE, MOUTH_RIGHT, MOUTH_LEFT, LIP_TOP, LIP_BOTTOM = 30, 33, 48, 54, 62, 66
CHEEK_RIGHT, CHEEK_LEFT = 2, 14

TURNED = 0.6
"""Above this `turn` the far half of the face is hidden, and its measures are not used."""

# `terciles` of the 24,238 training rows of FERPlus (majority rule, repeats of held-out pictures
# left out) on which mediapipe 0.10.14 finds a mesh; 12.1% of them are turned aside and not counted.
TERCILES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "mouth_corner_lift": (0.0108, 0.0589),
        "mouth_width": (0.7192, 0.8578),
        "mouth_opening": (0.0276, 0.1182),
        "eye_opening": (0.1051, 0.1287),
        "brow_height": (0.2896, 0.3415),
    }
)


@dataclass(frozen=True, slots=True)
class FaceGeometry:
    """Measures of one face. Lengths are in units of the face's size; image y points down.

    The size is the geometric mean of two distances: between the outer corners of the eyes, and
    from the eyes to the base of the nose. Neither changes with the expression.

    Args:
        mouth_corner_lift (`float`):
            How far the corners of the mouth lie above its middle, between the lips.
        mouth_width (`float`):
            Distance between the corners of the mouth.
        mouth_opening (`float`):
            Gap between the lips in the middle.
        eye_opening (`float`):
            Gap between the lids, mean of both eyes.
        brow_height (`float`):
            Height of the brows above the centre of their eye, mean of both.
        turn (`float`):
            How far the head is turned sideways: 0 facing the camera, towards 1 in profile;
            |a - b| / (a + b) of the distances from the nose to either side of the face.
    """

    mouth_corner_lift: float
    mouth_width: float
    mouth_opening: float
    eye_opening: float
    brow_height: float
    turn: float

    @classmethod
    def from_landmarks(cls, landmarks: np.ndarray) -> "FaceGeometry | None":
        """Measure a face.

        Args:
            landmarks (`np.ndarray` of shape `(68, 2)`):
                Points x, y in the order of iBUG 300-W, in any unit that is the same for x and y.

        Returns:
            `FaceGeometry` or `None`: `None` where the points form no face, for example when the
            nose does not lie below the eyes.
        """
        points = _upright(np.asarray(landmarks, dtype=np.float64))
        eyes = points[RIGHT_EYE].mean(axis=0), points[LEFT_EYE].mean(axis=0)
        width = np.linalg.norm(points[45] - points[36])
        height = points[NOSE_BASE, 1] - (eyes[0][1] + eyes[1][1]) / 2
        sides = np.linalg.norm(points[[CHEEK_RIGHT, CHEEK_LEFT]] - points[NOSE_TIP], axis=1)
        if not (width > 0 and height > 0 and sides.sum() > 0):
            return None
        corners = points[[MOUTH_RIGHT, MOUTH_LEFT]]
        lips = points[[LIP_TOP, LIP_BOTTOM], 1]
        lids = points[[41, 40, 47, 46], 1] - points[[37, 38, 43, 44], 1]
        brows = [eyes[0][1] - points[RIGHT_BROW, 1], eyes[1][1] - points[LEFT_BROW, 1]]
        lengths = np.array(
            [
                lips.mean() - corners[:, 1].mean(),
                abs(corners[1, 0] - corners[0, 0]),
                lips[1] - lips[0],
                lids.mean(),
                np.mean(brows),
            ]
        )
        lengths = lengths / np.sqrt(width * height)
        turn = abs(sides[0] - sides[1]) / sides.sum()
        return cls(*(float(value) for value in (*lengths, turn)))

    @property
    def turned(self) -> bool:
        """`bool`: Whether the head is turned so far that the far half of the face is hidden."""
        return self.turn > TURNED


MEASURES = tuple(field.name for field in fields(FaceGeometry) if field.name != "turn")
"""Names of the measures that have words."""


def level(name: str, value: float) -> int:
    """Where a value lies among FERPlus' training faces.

    Args:
        name (`str`):
            One of `MEASURES`.
        value (`float`):
            The measure.

    Returns:
        `int`: -1 in the lower third, 0 in the middle third, 1 in the upper third.
    """
    low, high = TERCILES[name]
    return int(value > high) - int(value < low)


def terciles(landmarks: np.ndarray) -> dict[str, tuple[float, float]]:
    """The thirds of every measure over many faces; this is how `TERCILES` was made.

    Args:
        landmarks (`np.ndarray` of shape `(faces, 68, 2)`):
            Points of the faces; those turned aside are left out.

    Returns:
        `dict[str, tuple[float, float]]`: Lower and upper bound of the middle third, by measure.
    """
    faces = [FaceGeometry.from_landmarks(points) for points in landmarks]
    table = np.array([astuple(face)[:-1] for face in faces if face and not face.turned])
    bounds = np.quantile(table, (1 / 3, 2 / 3), axis=0).round(4).T
    return {
        name: (float(low), float(high)) for name, (low, high) in zip(MEASURES, bounds, strict=True)
    }


def _upright(points: np.ndarray) -> np.ndarray:
    """The points rotated so that the line through the eyes is level."""
    x, y = points[LEFT_EYE].mean(axis=0) - points[RIGHT_EYE].mean(axis=0)
    angle = np.arctan2(y, x)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return points @ rotation.T
