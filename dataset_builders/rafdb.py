"""RAF-DB: faces from the web, seven basic expressions, the authors' training and test split.

Reads `EmoLabel/list_patition_label.txt` (spelled so by its authors), whose lines name a picture and
an id from 1 to 7, and takes each picture from `Image/aligned`, or from `Image/original` where it is
not there. No official copy was at hand: it accepts the names met in public loaders. Compound
expressions, the votes and the landmarks are not read.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from emo_llama.dataset_builders.base import ExpressionBuilder, Item, LeftOut
from emo_llama.dataset_builders.synthetic import save_face
from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.labels import RAFDB

__all__ = ["RafDb"]

LABEL_BY_ID = {str(number): label for number, label in enumerate(RAFDB, 1)}
PREFIXES = ("", "basic/")
"""Folders below the root that may hold the files."""

TABLES = ("EmoLabel/list_patition_label.txt", "EmoLabel/list_partition_label.txt")
ALIGNED, ORIGINAL = "Image/aligned", "Image/original"
NAME = re.compile(r"((?:train|test)_[0-9]{1,9})(?:_aligned)?\.jpg")


class RafDb(ExpressionBuilder):
    """Builds instruction data from RAF-DB basic; `data_dir` holds `EmoLabel` and `Image`."""

    NAME = "rafdb"
    SUMMARY = "Faces from the web with one of seven basic expressions each (RAF-DB)."
    SIZE = "15,339 pictures"
    NEEDS = f"{TABLES[0]} and {ALIGNED}/ (or {ORIGINAL}/), directly or below basic/"
    OBTAIN = (
        "sign the agreement at www.whdeng.cn/RAF/model1.html, unpack the basic archives that its "
        "authors send into one folder, and name that folder"
    )
    HOMEPAGE = "http://www.whdeng.cn/RAF/model1.html"
    LICENCE = (
        "Given out under a signed agreement, for research that is not commercial. The pictures may "
        "not be shared or passed on: do not publish this folder, give others the command that "
        "builds it."
    )
    LABELS = RAFDB

    def find_splits(self) -> list[str]:
        """The official splits that the table names, once the pictures are known to be there."""
        found = {name.partition("_")[0] for name, _ in self._lines()}
        self._folders()
        return [split for split in ("train", "test") if split in found]

    def read_items(self, split: str) -> Iterator[Item | LeftOut]:
        """The pictures of a split in the order of the table; the name is the key."""
        folders = self._folders()
        for name, label_id in self._lines():
            if not name.startswith(split):
                continue
            if label_id in LABEL_BY_ID:
                yield Item(name, LABEL_BY_ID[label_id], self._file(name, folders))
            else:
                message = f"label {label_id[:20]!r}: expected 1 to {len(RAFDB)}"
                yield LeftOut("unknown labels", name, message)

    @classmethod
    def write_synthetic(cls, root: Path, per_class: int = 2) -> None:
        """The table and aligned pictures of both splits.

        Args:
            root (`Path`): Folder to write.
            per_class (`int`, *optional*, defaults to 2): Pictures of each class and split.
        """
        lines = []
        for split, first in (("train", 0), ("test", per_class * len(RAFDB))):
            for number in range(1, per_class * len(RAFDB) + 1):
                place = (number - 1) % len(RAFDB)
                name = f"{split}_{number:05d}"
                path = root / ALIGNED / f"{name}_aligned.jpg"
                save_face(path, RAFDB[place], first + number)
                lines.append(f"{name}.jpg {place + 1}\n")
        (root / TABLES[0]).parent.mkdir(parents=True, exist_ok=True)
        (root / TABLES[0]).write_text("".join(lines), encoding="utf-8")

    def _lines(self) -> Iterator[tuple[str, str]]:
        """Name and label id of every line, as they stand there."""
        path = self._table()
        empty = True
        try:
            with path.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, 1):
                    fields = line.split()
                    if not fields:
                        continue
                    match = NAME.fullmatch(fields[0])
                    if match is None or len(fields) != 2:
                        raise DataFormatError(
                            f"{path}, line {number}: expected train_NNNNN.jpg or test_NNNNN.jpg "
                            f"and a label, found {line.strip()[:80]!r}; the file may be cut off. "
                            f"{self.OBTAIN}."
                        )
                    empty = False
                    yield match[1], fields[1]
        except (UnicodeDecodeError, OSError) as error:
            raise DataFormatError(
                f"{path}: expected a text file ({error}). {self.OBTAIN}."
            ) from error
        if empty:
            raise DataFormatError(f"{path}: expected lines of pictures, found none. {self.OBTAIN}.")

    def _table(self) -> Path:
        """The table of both splits."""
        if not self.root.is_dir():
            raise InputNotFoundError(
                f"{self.root}: expected the folder that holds RAF-DB. {self.OBTAIN}."
            )
        names = [prefix + table for prefix in PREFIXES for table in TABLES]
        for name in names:
            if (self.root / name).is_file():
                return self.root / name
        raise InputNotFoundError(
            f"{self.root}: found no table of labels; looked for {', '.join(names)}. {self.OBTAIN}."
        )

    def _folders(self) -> list[str]:
        """The folders of pictures that are there, aligned ones first."""
        names = [prefix + folder for folder in (ALIGNED, ORIGINAL) for prefix in PREFIXES]
        found = [name for name in names if (self.root / name).is_dir()]
        if not found:
            raise InputNotFoundError(
                f"{self.root}: found no folder of pictures; looked for {', '.join(names)}. "
                f"{self.OBTAIN}."
            )
        return found

    def _file(self, name: str, folders: list[str]) -> str:
        """Where a picture lies; the likeliest place where it lies nowhere."""
        places = [
            f"{folder}/{name}{'_aligned' * folder.endswith(ALIGNED)}.jpg" for folder in folders
        ]
        return next((place for place in places if (self.root / place).is_file()), places[0])
