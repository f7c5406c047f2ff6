"""Where the landmarks of a record come from: a mesh that looks at the picture, or a file of such.

A file of landmarks is a NumPy `.npz` with three arrays: `row_index` (N,) int, the row of the data
set; `found` (N,) bool, whether the mesh found a face there; `landmarks` (N, 68, 2) float, x and y
of the 68 points of iBUG 300-W, in any unit that is the same for x and y.
"""

import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np

from emo_llama.dataset_builders.schema import ExpressionRecord
from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.faces import mesh_landmarks

__all__ = ["LandmarkSource", "from_file", "from_mesh", "usual_source"]

MEMBER = "landmarks.npy"
_HEADER_2 = np.lib.format.read_array_header_2_0

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
            rows, found = file["row_index"], np.asarray(file["found"], bool)
        shape, dtype = _header(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise DataFormatError(
            f"{path}: expected a .npz file with row_index, found and landmarks ({error})"
        ) from error
    if not len(rows) == len(found) == shape[0] or shape[1:] != (68, 2):
        raise DataFormatError(
            f"{path}: expected row_index (N,), found (N,) and landmarks (N, 68, 2), found shapes "
            f"{rows.shape}, {found.shape} and {shape}"
        )
    places = np.flatnonzero(found)[np.argsort(rows[found], kind="stable")]
    return _Table(path, rows[places], places, dtype)


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array of landmarks, which is not read."""
    with zipfile.ZipFile(path) as archive, archive.open(MEMBER) as member:
        return _read_header(member)


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else _HEADER_2
    shape, columns_first, dtype = read(member)
    if columns_first or dtype.hasobject:
        raise ValueError("landmarks must be numbers in C order")
    return shape, dtype


class _Table:
    """Landmarks by row, read from the file one by one, so that memory does not grow with it.

    Rows are usually asked for in order; worker processes get a copy that opens the file anew.
    """

    def __init__(self, path: Path, rows: np.ndarray, places: np.ndarray, dtype: np.dtype) -> None:
        self.path, self.rows, self.places, self.dtype = path, rows, places, dtype
        self.member: IO[bytes] | None = None
        self.start = 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"member": None}

    def __call__(self, record: ExpressionRecord) -> np.ndarray | None:
        """Points of the record's row (68, 2), or `None`."""
        at = int(np.searchsorted(self.rows, record.row))
        if at == len(self.rows) or self.rows[at] != record.row:
            return None
        if self.member is None:
            self.member = zipfile.ZipFile(self.path).open(MEMBER)
            _read_header(self.member)
            self.start = self.member.tell()
        size = 68 * 2 * self.dtype.itemsize
        self.member.seek(self.start + int(self.places[at]) * size)
        return np.frombuffer(self.member.read(size), self.dtype).reshape(68, 2)
