"""Arrays that the face network is trained on: crops with what is known of each.

Decides how FERPlus and FairFace become one table of equal crops: framing, size, and which targets a
row has. FERPlus rows carry vote distributions, FairFace rows age, gender and race, both carry mesh
landmarks where a mesh was found. It leaves out augmentation and the losses.
"""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from emo_llama.dataset_builders.ferplus import majority_label, read_ferplus
from emo_llama.errors import DataFormatError
from emo_llama.faces import mesh_landmarks
from emo_llama.files import atomic_path

NUM_LANDMARKS = 68
# Mean geometry of mesh landmarks on the FERPlus training faces, in units of half the picture's
# side: how far the middle of the eyes lies above the centre, the distance from eyes to mouth, and
# the distance between the eyes.
EYE_LINE, EYE_TO_MOUTH, EYE_TO_EYE = 0.237, 0.793, 0.739

_AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
_RACES = {"White": 0, "Black": 1, "Indian": 2, "East Asian": 3, "Southeast Asian": 3}


@dataclass
class FaceTable:
    """Equal crops and their targets; -1 or zeros where a target is not known.

    Args:
        images (`np.ndarray` of shape `(N, S, S)` or `(N, S, S, 3)`, uint8): Crops, grey or RGB.
        votes (`np.ndarray` of shape `(N, 8)`, float32):
            Vote distribution in the FERPlus order; zeros: unknown.
        labels (`np.ndarray` of shape `(N,)`, int64): Class under the majority rule; -1: none.
        landmarks (`np.ndarray` of shape `(N, 68, 2)`, float32):
            In [-1, 1] of the crop; only where `found`.
        found (`np.ndarray` of shape `(N,)`, bool): Whether a mesh was found.
        attributes (`np.ndarray` of shape `(N, 3)`, int64): Age bin, gender, race; -1: unknown.
    """

    images: np.ndarray
    votes: np.ndarray
    labels: np.ndarray
    landmarks: np.ndarray
    found: np.ndarray
    attributes: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def mesh_cache(
    path: Path, images: Callable[[], Iterable[Image.Image]], border: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mesh landmarks of pictures in order, computed once and kept in a file.

    Args:
        path (`Path`):
            The cache (`.npz` with `found`, `landmarks`, `row_index`); made where it is missing.
        images (`Callable`): Gives the pictures; called only where the cache is missing.
        border (`int`): As in [`emo_llama.faces.mesh_landmarks`]; tight crops need one.

    Returns:
        `tuple[np.ndarray, np.ndarray]`:
            `found` (N,) bool and `landmarks` (N, 68, 2) float32 in [-1, 1].
    """
    if not path.is_file():
        found = [mesh_landmarks(image, border) for image in images()]
        empty = np.zeros((NUM_LANDMARKS, 2), np.float32)
        landmarks = [empty if points is None else points for points in found]
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as partial:
            np.savez(
                partial,
                found=np.array([points is not None for points in found]),
                landmarks=np.array(landmarks, np.float32),
                row_index=np.arange(len(found)),
            )
    with np.load(path) as cache:
        return cache["found"], cache["landmarks"]


def landmark_cache(root: Path, work_dir: Path) -> Path:
    """The file with the mesh landmarks of every FERPlus row, made where it is missing.

    Args:
        root (`Path`): Folder of the FERPlus files.
        work_dir (`Path`): Where the file lies.

    Returns:
        `Path`: As `emo-llama data build --landmarks` reads it.
    """
    path = work_dir / "landmarks-ferplus.npz"
    mesh_cache(
        path, lambda: (row.image() for row in read_ferplus(root, keep_repeats=True)), border=24
    )
    return path


def ferplus_table(root: Path, work_dir: Path, usage: str, size: int) -> FaceTable:
    """The rows of one FERPlus split that carry any of the eight expressions.

    Training rows that repeat a held-out picture exactly are out.

    Args:
        root (`Path`): Folder of the FERPlus files.
        work_dir (`Path`): Where the landmark cache lies.
        usage (`str`): `"Training"` or `"PublicTest"`.
        size (`int`): Side of the crops, in pixels.

    Returns:
        [`FaceTable`]: For `"Training"` all rows with votes, otherwise those of the majority rule.
    """
    with np.load(landmark_cache(root, work_dir)) as cache:
        found, landmarks = cache["found"], cache["landmarks"]
    rows = list(read_ferplus(root, (usage,)))
    votes = np.array([row.votes for row in rows], np.float32)
    votes[votes <= 1] = 0  # a single vote is noise: the rule of the FERPlus reference code
    emotion = votes[:, :8].sum(1)
    labels = np.array(
        [-1 if (label := majority_label(row.votes)) is None else label for row in rows]
    )
    keep = np.flatnonzero(emotion > votes[:, 8:].sum(1) if usage == "Training" else labels >= 0)
    index = np.array([rows[i].row_index for i in keep])
    images = np.stack([_resized(rows[i].image(), size) for i in keep])
    shares = votes[keep, :8] / emotion[keep, None]
    unknown = np.full((len(keep), 3), -1)
    return FaceTable(images, shares, labels[keep], landmarks[index], found[index], unknown)


def fairface_table(
    root: Path, work_dir: Path, size: int, limit: int | None = None, color: bool = False
) -> FaceTable:
    """FairFace training faces, framed by their landmarks as FERPlus frames its own.

    Args:
        root (`Path`):
            Folder with `train-*.parquet` (columns `image_jpeg`, `age`, `gender`, `race`).
        work_dir (`Path`): Where the landmark cache lies.
        size (`int`): Side of the crops, in pixels.
        limit (`int`, *optional*): Read the first rows only.
        color (`bool`, *optional*, defaults to `False`): Keep the colours, at thrice the memory.

    Returns:
        [`FaceTable`]:
            Rows whose mesh was found, with attributes in the bins of [`FaceXFormerConfig`].

    Raises:
        `DataFormatError`: If the folder holds no shard.
    """
    shards = sorted(root.glob("train-*.parquet"))
    if not shards:
        raise DataFormatError(
            f"{root}: expected FairFace shards train-*.parquet. Put them there, or name "
            "another folder."
        )
    rows = [row for shard in shards for row in pq.read_table(shard).to_pylist()][:limit]

    def pictures() -> Iterable[Image.Image]:
        """Every face, decoded."""
        return (Image.open(io.BytesIO(row["image_jpeg"])) for row in rows)

    found, landmarks = mesh_cache(work_dir / "landmarks-fairface.npz", pictures, border=0)
    mode = "RGB" if color else "L"
    crops = [
        _framed(Image.open(io.BytesIO(row["image_jpeg"])).convert(mode), points, size)
        for row, points, seen in zip(rows, landmarks, found, strict=False)
        if seen
    ]
    images, points = (np.stack(parts) for parts in zip(*crops, strict=True))
    attributes = np.array(
        [_attributes(row) for row, seen in zip(rows, found, strict=False) if seen]
    )
    count = len(images)
    return FaceTable(
        images,
        np.zeros((count, 8), np.float32),
        np.full(count, -1),
        points,
        np.ones(count, bool),
        attributes,
    )


def _resized(image: Image.Image, size: int) -> np.ndarray:
    return np.asarray(image.convert("L").resize((size, size), Image.Resampling.BICUBIC))


def _framed(image: Image.Image, points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the square in which eyes and mouth stand where FERPlus has them; landmarks follow."""
    pixels = (points + 1) / 2 * np.array(image.size)
    left, right, mouth = pixels[36:42].mean(0), pixels[42:48].mean(0), pixels[48:].mean(0)
    eyes = (left + right) / 2
    half = (
        np.linalg.norm(mouth - eyes) / EYE_TO_MOUTH + np.linalg.norm(right - left) / EYE_TO_EYE
    ) / 2
    centre = np.array([(eyes[0] + mouth[0]) / 2, eyes[1] + EYE_LINE * half])
    box = (*(centre - half), *(centre + half))
    crop = image.transform((size, size), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)
    return np.asarray(crop), ((pixels - centre) / half).astype(np.float32)


def _attributes(row: dict[str, str]) -> tuple[int, int, int]:
    """Age bin (the two youngest are one), gender, and race in five groups (4: others)."""
    age = max(_AGES.index(row["age"]) - 1, 0)
    return age, int(row["gender"] == "Female"), _RACES.get(row["race"], 4)
