"""AffectNet: faces from the web, seven or eight expressions, training and validation split.

Reads either of two layouts: `train_set/{images,annotations}/N.jpg, N_exp.npy` with `val_set`
beside, or the older `training.csv` and `validation.csv` over `Manually_Annotated_Images`. No
official copy was at hand: it accepts the folder names met in public loaders, and ids kept as text
or as numbers. The test split was never given out. Pictures are taken as they are; boxes, landmarks,
valence and arousal are not read.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError

import numpy as np

from emo_llama.dataset_builders.base import ExpressionBuilder, Item, LeftOut
from emo_llama.dataset_builders.synthetic import save_face
from emo_llama.dataset_builders.tables import csv_columns
from emo_llama.errors import InputNotFoundError
from emo_llama.labels import AFFECTNET, AFFECTNET_7

__all__ = ["AffectNet"]

IDS = tuple(map(str, range(11)))
"""Of the eight expressions, and 8 (none of them), 9 (uncertain) and 10 (no face)."""

FOLDERS = {"train": "train_set", "validation": "val_set"}
TABLES = {"train": "training.csv", "validation": "validation.csv"}
TABLE_FOLDERS = ("", "Manually_Annotated_file_lists/", "Manually_Annotated/")
PICTURE_FOLDERS = (
    "Manually_Annotated_Images",
    "Manually_Annotated/Manually_Annotated_Images",
    "Manually_Annotated_compressed/Manually_Annotated_Images",
)
MAX_NAME = 200
"""Characters of a picture's name in a table; the official ones have less than 80."""

MAX_LABEL_BYTES = 4096
"""Of an annotation; the official ones have less than 200."""

# What NumPy raises on a damaged .npy file, its own header parser included.
DAMAGES = (OSError, ValueError, EOFError, MemoryError, OverflowError, SyntaxError, TokenError)


class AffectNet(ExpressionBuilder):
    """Builds instruction data from AffectNet; `data_dir` is the folder of either layout.

    With `num_classes=7` contempt is left out, and so are, always, pictures without a label: the
    ids 8 (none), 9 (uncertain) and 10 (no face).
    """

    NAME = "affectnet"
    SUMMARY = "Faces from the web with one of eight expressions each (AffectNet)."
    SIZE = "291,651 pictures with a label"
    NEEDS = (
        "train_set/ and val_set/ with images/ and annotations/, or training.csv and validation.csv "
        "with Manually_Annotated_Images/"
    )
    OBTAIN = (
        "sign the agreement at mohammadmahoor.com/affectnet, unpack the archives that its authors "
        "send into one folder, and name that folder"
    )
    HOMEPAGE = "http://mohammadmahoor.com/affectnet/"
    LICENCE = (
        "Given out under a signed agreement, to laboratories for research that is not commercial. "
        "The pictures may not be shared or passed on: do not publish this folder, give others the "
        "command that builds it."
    )
    LABELS = AFFECTNET
    CLASS_COUNTS = (7, 8)

    @property
    def labels(self) -> tuple[str, ...]:
        """`tuple[str, ...]`: Eight, or the first seven."""
        return AFFECTNET_7 if self.config.num_classes == len(AFFECTNET_7) else AFFECTNET

    def find_splits(self) -> list[str]:
        """The official splits that are there.

        Raises:
            InputNotFoundError: There is neither layout, or one of its folders is missing.
        """
        if not self.root.is_dir():
            raise InputNotFoundError(
                f"{self.root}: expected the folder that holds AffectNet. {self.OBTAIN}."
            )
        folders = [split for split, name in FOLDERS.items() if (self.root / name).is_dir()]
        for name in (FOLDERS[split] for split in folders):
            for part in ("images", "annotations"):
                if not (self.root / name / part).is_dir():
                    raise InputNotFoundError(
                        f"{self.root / name}: expected the folders images and annotations, found "
                        f"no {part}. {self.OBTAIN}."
                    )
        tables = [split for split in TABLES if self._table(split)]
        if not folders and not tables:
            names = [*FOLDERS.values(), *(f + t for f in TABLE_FOLDERS for t in TABLES.values())]
            raise InputNotFoundError(
                f"{self.root}: found no annotations; looked for {', '.join(names)}. {self.OBTAIN}."
            )
        return folders or tables

    def read_items(self, split: str) -> Iterator[Item | LeftOut]:
        """The pictures of a split, numbered ones by number, listed ones in the listed order."""
        if (self.root / FOLDERS[split]).is_dir():
            yield from self._numbered(FOLDERS[split])
            return
        table = self._table(split)
        assert table is not None  # find_splits gave this split
        folder = self._pictures()
        columns = ("subDirectory_filePath", "expression")
        for name, label_id in csv_columns(table, columns, self.OBTAIN):
            key, suffix = os.path.splitext(name)
            if suffix and "\0" not in name and len(name) <= MAX_NAME:
                yield self._item(key, label_id, f"{folder}{name}")
            else:
                message = f"{name[:MAX_NAME]!r} in {table.name}: expected the name of a picture"
                yield LeftOut("missing files", key[:MAX_NAME], message)

    @classmethod
    def write_synthetic(cls, root: Path, per_class: int = 2) -> None:
        """Both splits in the newer layout; of the annotations only those of the expression.

        Args:
            root (`Path`): Folder to write.
            per_class (`int`, *optional*, defaults to 2): Pictures of each class and split.
        """
        seed = 0
        for folder in FOLDERS.values():
            (root / folder / "annotations").mkdir(parents=True)
            for number in range(per_class * len(AFFECTNET)):
                label_id = number % len(AFFECTNET)
                path = root / folder / "images" / f"{number}.jpg"
                save_face(path, AFFECTNET[label_id], seed, size=224)
                np.save(
                    root / folder / "annotations" / f"{number}_exp.npy", np.array(str(label_id))
                )
                seed += 1

    def _numbered(self, folder: str) -> Iterator[Item | LeftOut]:
        """Pictures of the newer layout; one that lacks its annotation is named."""
        images = _numbers(self.root / folder / "images", ".jpg")
        labelled = _numbers(self.root / folder / "annotations", "_exp.npy")
        for number in map(int, np.union1d(images, labelled)):
            key = f"{folder}/{number}"
            path = self.root / folder / "annotations" / f"{number}_exp.npy"
            try:
                label_id = _read_label(path)
            except FileNotFoundError:
                yield LeftOut(
                    "missing files", key, f"{folder}/annotations/{path.name}: no such file"
                )
            except DAMAGES as error:
                message = f"{folder}/annotations/{path.name}: expected one id ({error})"
                yield LeftOut("unreadable files", key, message.replace(f"{self.root}/", ""))
            else:
                yield self._item(key, label_id, f"{folder}/images/{number}.jpg")

    def _item(self, key: str, label_id: str, file: str) -> Item | LeftOut:
        """One picture with the label that its id stands for."""
        place = int(label_id) if label_id in IDS else -1
        if place < 0:
            return LeftOut("unknown labels", key, f"label {label_id[:20]!r}: expected 0 to 10")
        if place >= len(self.labels):
            return LeftOut("without a label", key)
        return Item(key, AFFECTNET[place], file)

    def _table(self, split: str) -> Path | None:
        """The table of a split in the older layout, where there is one."""
        paths = [self.root / folder / TABLES[split] for folder in TABLE_FOLDERS]
        return next((path for path in paths if path.is_file()), None)

    def _pictures(self) -> str:
        """The folder of pictures in the older layout, with `/`; the root if no other is there."""
        found = [f"{name}/" for name in PICTURE_FOLDERS if (self.root / name).is_dir()]
        return found[0] if found else ""


def _numbers(folder: Path, suffix: str) -> np.ndarray:
    """Sorted numbers of the files `N{suffix}` (n,), int64: 8 bytes a file, however many."""
    with os.scandir(folder) as entries:
        stems = (
            entry.name.removesuffix(suffix) for entry in entries if entry.name.endswith(suffix)
        )
        numbers = (int(s) for s in stems if s.isascii() and s.isdecimal() and len(s) < 19)
        return np.sort(np.fromiter(numbers, dtype=np.int64))


def _read_label(path: Path) -> str:
    """The id in an annotation, which is an array of one text or number."""
    if path.stat().st_size > MAX_LABEL_BYTES:
        raise ValueError(f"{path.stat().st_size} bytes")
    with path.open("rb") as file:
        value = np.lib.format.read_array(file, allow_pickle=False)
    if value.size != 1:
        raise ValueError(f"{value.size} values")
    only = value.item()
    return str(int(only)) if isinstance(only, float) and only.is_integer() else str(only).strip()
