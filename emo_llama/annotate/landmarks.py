"""Where the landmarks of a record come from: a mesh that looks at the picture, or a file of such.

A file of landmarks is a NumPy `.npz` with three arrays: `row_index` (N,) int, the row of the data
set; `found` (N,) bool, whether the mesh found a face there; `landmarks` (N, 68, 2) float, x and y
of the 68 points of iBUG 300-W, in any unit that is the same for x and y.
"""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from emo_llama.dataset_builders.schema import ExpressionRecord
from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.faces import mesh_landmarks

__all__ = ["LandmarkSource", "from_file", "from_mesh", "usual_source"]

LandmarkSource = Callable[[ExpressionRecord], np.ndarray | None]
"""Gives the landmarks of a record, (68, 2), or `None` where no face was found."""


def usual_source() -> LandmarkSource | None:
    """The mesh, where it is installed.

    Returns:
        `LandmarkSource` or `None`: `None` where mediapipe is missing.
    """
    return from_mesh if find_spec("mediapipe") else None


def from_mesh(record: ExpressionRecord) -> np.ndarray | None:
    """Landmarks of the record's picture, found by mediapipe's face mesh.

    Args:
        record (`ExpressionRecord`):
            The face.

    Returns:
        `np.ndarray` of shape `(68, 2)` or `None`: As [`~emo_llama.faces.mesh_landmarks`].
    """
    return mesh_landmarks(record.image())


def from_file(path: str | Path) -> LandmarkSource:
    """Landmarks that were found before, by the row of the data set.

    Args:
        path (`str` or `Path`):
            The `.npz` file; see the module's first lines.

    Returns:
        `LandmarkSource`: Gives `None` for a row that is not in the file or has no face.

    Raises:
        InputNotFoundError: There is no such file.
        DataFormatError: The file is damaged, or an array is missing or of another shape.
    """
    path = Path(path)
    if not path.is_file():
        raise InputNotFoundError(
            f"{path}: expected a .npz file of landmarks; name an existing one, or mesh or none"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            rows, found, points = (file[name] for name in ("row_index", "found", "landmarks"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise DataFormatError(
            f"{path}: expected a .npz file with row_index, found and landmarks ({error})"
        ) from error
    if not len(rows) == len(found) == len(points) or points.shape[1:] != (68, 2):
        raise DataFormatError(
            f"{path}: expected row_index (N,), found (N,) and landmarks (N, 68, 2), found shapes "
            f"{rows.shape}, {found.shape} and {points.shape}"
        )
    return _Table({int(row): points[place] for place, row in enumerate(rows) if found[place]})


@dataclass(frozen=True, slots=True)
class _Table:
    """Landmarks by row; a class, so that worker processes can be handed it."""

    points: dict[int, np.ndarray]

    def __call__(self, record: ExpressionRecord) -> np.ndarray | None:
        """Points of the record's row (68, 2), or `None`."""
        return self.points.get(record.row)
