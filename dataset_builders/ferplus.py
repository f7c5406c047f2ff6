"""FERPlus: the faces of FER2013 (48x48, grey) with ten crowd votes each.

Reads `fer2013.csv` (or `icml_face_data.csv`) beside `fer2013new.csv`, joined by row as their
authors say, or a folder of Parquet shards that hold both. The column "Image name" is no key: its
number is not the row, and four names occur twice. What the label is follows from one of two rules;
which rows leave the training split because their very picture is held out is decided here too. What
is said about a face is the annotator's part.
"""

import csv
import hashlib
import io
import itertools
import struct
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from emo_llama.dataset_builders.base import ExpressionBuilder, Item, LeftOut
from emo_llama.dataset_builders.schema import ExpressionRecord
from emo_llama.dataset_builders.synthetic import draw_face
from emo_llama.dataset_builders.tables import csv_columns, parquet_columns
from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.labels import FERPLUS

__all__ = [
    "RULES",
    "SPLITS",
    "VOTES",
    "FerPlus",
    "FerPlusRow",
    "argmax_label",
    "held_out_digests",
    "majority_label",
    "read_ferplus",
]

SIZE = 48
MAX_DIGITS = 10
"""Side of every picture, pixels."""

VOTES = (*FERPLUS, "unknown", "nf")
"""What the ten votes stand for, in the order of `fer2013new.csv`; nf means "not a face"."""

SPLITS = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
"""Split names here, and the official files' `Usage`."""

IMAGE_FILES = ("fer2013.csv", "icml_face_data.csv", "fer2013/fer2013.csv")
VOTE_FILE = "fer2013new.csv"
SOURCES = (
    "fer2013.csv comes from Kaggle's challenges-in-representation-learning-facial-expression-"
    "recognition-challenge, fer2013new.csv from github.com/microsoft/FERPlus: put both, unchanged, "
    "in one folder and name that folder"
)


@dataclass(frozen=True, slots=True)
class FerPlusRow:
    """One row of FER2013 with its FERPlus votes.

    Args:
        row_index (`int`):
            Row of `fer2013.csv`, from 0.
        usage (`str`):
            `"Training"`, `"PublicTest"` or `"PrivateTest"`.
        pixels (`bytes`):
            48 x 48 grey values, row by row, uint8.
        votes (`tuple[int, ...]`):
            Ten counts, in the order of `VOTES`.
    """

    row_index: int
    usage: str
    pixels: bytes
    votes: tuple[int, ...]

    def image(self) -> Image.Image:
        """The picture (`PIL.Image.Image`, mode "L", 48x48)."""
        return Image.frombytes("L", (SIZE, SIZE), self.pixels)

    def png(self) -> bytes:
        """The picture as PNG bytes."""
        buffer = io.BytesIO()
        self.image().save(buffer, "PNG")
        return buffer.getvalue()

    def digest(self) -> bytes:
        """A key that two rows share only if their pictures are equal in every pixel."""
        return hashlib.blake2b(self.pixels, digest_size=16).digest()


def majority_label(votes: Sequence[int]) -> int | None:
    """Label under the majority rule of the FERPlus reference code (its mode "majority").

    Counts of 1 or less become 0; the top class needs more than half of what is left; rows whose
    top is unknown or nf have no label. Source: github.com/microsoft/FERPlus.

    Args:
        votes (`Sequence[int]`):
            Ten counts, in the order of `VOTES`.

    Returns:
        `int` or `None`: Index into `FERPLUS`, or `None` where the row is left out.

    Example:

    ```python
    >>> from emo_llama.dataset_builders.ferplus import majority_label

    >>> majority_label([4, 5, 0, 0, 0, 0, 1, 0, 0, 0])
    1
    >>> majority_label([5, 5, 0, 0, 0, 0, 0, 0, 0, 0]) is None
    True
    ```
    """
    kept = [count if count > 1 else 0 for count in votes]  # one vote alone is taken for a slip
    top = max(range(len(kept)), key=kept.__getitem__)
    return top if 2 * kept[top] > sum(kept) and top < len(FERPLUS) else None


def argmax_label(votes: Sequence[int]) -> int | None:
    """Label under plain argmax: the first of the ten counts that no other exceeds.

    Args:
        votes (`Sequence[int]`):
            Ten counts, in the order of `VOTES`.

    Returns:
        `int` or `None`: Index into `FERPLUS`, or `None` where unknown or nf lead.
    """
    top = max(range(len(votes)), key=votes.__getitem__)
    return top if votes[top] > 0 and top < len(FERPLUS) else None


RULES: dict[str, Callable[[Sequence[int]], int | None]] = {
    "majority": majority_label,
    "argmax": argmax_label,
}


def read_ferplus(
    root: str | Path,
    usages: Sequence[str] = tuple(SPLITS.values()),
    keep_repeats: bool = False,
) -> Iterator[FerPlusRow]:
    """Every row of FERPlus in the original order, whatever its votes.

    Args:
        root (`str` or `Path`):
            Folder with `fer2013.csv` (or `icml_face_data.csv`) and `fer2013new.csv`, or with
            Parquet shards of the columns `row_index`, `usage`, `image_png`, `votes_neutral` to
            `votes_nf`.
        usages (`Sequence[str]`, *optional*, defaults to all three):
            The official splits to read, as `Usage` names them. Others are stepped over.
        keep_repeats (`bool`, *optional*, defaults to `False`):
            Whether training rows stay whose very picture is in PublicTest or PrivateTest too.

    Yields:
        `FerPlusRow`: One row.

    Raises:
        InputNotFoundError: The folder or one of the files is missing.
        DataFormatError: A file is empty or damaged, or the two files do not match.
    """
    # A pass of its own: a repeat may stand before the row that it repeats.
    drop = not keep_repeats and "Training" in usages
    held_out = held_out_digests(root) if drop else frozenset()
    for row in _rows(Path(root), frozenset(usages)):
        if not (row.usage == "Training" and held_out and row.digest() in held_out):
            yield row


def held_out_digests(root: str | Path) -> frozenset[bytes]:
    """The keys of every picture of PublicTest and PrivateTest, whatever its votes.

    Args:
        root (`str` or `Path`):
            As in [`read_ferplus`].

    Returns:
        `frozenset[bytes]`: A training row whose `digest()` is in it repeats a held-out picture.
    """
    held_out = frozenset(SPLITS.values()) - {"Training"}
    return frozenset(row.digest() for row in _rows(Path(root), held_out))


def _rows(root: Path, usages: AbstractSet[str]) -> Iterator[FerPlusRow]:
    """Rows of either layout; CSV files win where both lie in one folder."""
    if not root.is_dir():
        raise InputNotFoundError(f"{root}: expected the folder that holds FERPlus. {SOURCES}.")
    images = next((root / name for name in IMAGE_FILES if (root / name).is_file()), None)
    shards = sorted(root.glob("*.parquet"))
    if images is None and shards:
        return _parquet_rows(shards, usages)
    votes = root / VOTE_FILE
    if images is None or not votes.is_file():
        missing = [IMAGE_FILES[0]] * (images is None) + [VOTE_FILE] * (not votes.is_file())
        raise InputNotFoundError(f"{root}: found no {' and no '.join(missing)}. {SOURCES}.")
    return _csv_rows(images, votes, usages)


def _csv_rows(images: Path, votes: Path, usages: AbstractSet[str]) -> Iterator[FerPlusRow]:
    """Rows of the two official files, joined by row."""
    left_rows = csv_columns(images, ("pixels", "Usage"), SOURCES)
    right_rows = csv_columns(votes, ("Usage", *FERPLUS, "unknown", "NF"), SOURCES)
    index = -1
    # the files share no key, so that one row lost would give all behind it another's votes
    for index, (left, right) in enumerate(itertools.zip_longest(left_rows, right_rows)):
        if left is None or right is None:
            short, other = (images, votes) if left is None else (votes, images)
            raise DataFormatError(
                f"{short}: ends after {index} rows while {other} goes on, and the two are joined "
                f"by row. Use the unchanged official files: {SOURCES}."
            )
        pixels, usage = left
        if usage != right[0] or usage not in SPLITS.values():
            raise DataFormatError(
                f"{images}, row {index}: Usage is {usage!r} where {votes} has {right[0]!r}; "
                f"expected the same in both, one of {', '.join(SPLITS.values())}. "
                f"Use the unchanged official files: {SOURCES}."
            )
        if usage in usages:
            counts = _counts(votes, index, right[1:])
            yield FerPlusRow(index, usage, _grey_values(images, index, pixels), counts)
    if index < 0:
        raise DataFormatError(f"{images}: expected rows below the header, found none. {SOURCES}.")


def _grey_values(path: Path, index: int, text: str) -> bytes:
    """The 2304 grey values of one row of the column pixels."""
    try:
        pixels = bytes(map(int, text.split()))
    except ValueError:
        pixels = b""
    if len(pixels) != SIZE * SIZE:
        raise DataFormatError(
            f"{path}, row {index}: expected {SIZE * SIZE} grey values from 0 to 255 in the column "
            f"pixels, found {len(text.split())} entries beginning {text[:24]!r}. {SOURCES}."
        )
    return pixels


def _counts(path: Path, index: int, texts: Sequence[str]) -> tuple[int, ...]:
    """The ten votes of one row."""
    # `int` itself takes signs, underscores and spaces, and is slow on a million digits
    if not all(text.isdecimal() and len(text) < MAX_DIGITS for text in texts):
        raise DataFormatError(
            f"{path}, row {index}: expected ten whole numbers of votes, found {texts}. {SOURCES}."
        )
    return tuple(map(int, texts))


def _parquet_rows(shards: list[Path], usages: AbstractSet[str]) -> Iterator[FerPlusRow]:
    """Rows of Parquet shards that hold pictures and votes."""
    names = ("row_index", "usage", "image_png", *(f"votes_{name}" for name in VOTES))
    for path, (index, usage, png, *votes) in parquet_columns(shards, names):
        kinds = zip((index, usage, png), (int, str, bytes), strict=True)
        if not all(isinstance(value, kind) for value, kind in kinds) or not all(
            isinstance(count, int) and count >= 0 for count in votes
        ):
            raise DataFormatError(
                f"{path}, row {index}: expected a whole number, a text, an encoded picture and "
                "ten counts in row_index, usage, image_png and votes_*, found others. Fetch or "
                "write the shard again."
            )
        if usage in usages:
            yield FerPlusRow(index, usage, _decoded(path, index, png), tuple(votes))


def _decoded(path: Path, index: int, data: bytes | None) -> bytes:
    """The grey values of an encoded picture."""
    try:
        # no other format: each is another parser that a shard from somewhere could aim at
        with Image.open(io.BytesIO(data or b""), formats=("PNG",)) as image:
            if image.size == (SIZE, SIZE):
                return image.convert("L").tobytes()
            found = f"{image.size[0]}x{image.size[1]}"
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError):
        found = "something unreadable"
    raise DataFormatError(
        f"{path}, row {index}: expected a PNG of {SIZE}x{SIZE} pixels in image_png, found {found}. "
        "Fetch or write the shard again."
    )


class FerPlus(ExpressionBuilder):
    """Builds instruction data from FERPlus; `data_dir` is the folder of [`read_ferplus`].

    Rows without a label under the rule and, unless `keep_repeats`, training rows whose very picture
    is held out are left out.
    """

    NAME = "ferplus"
    SUMMARY = (
        "FER2013 faces (48x48, grey) with ten crowd votes each on eight expressions (FERPlus)."
    )
    SIZE = "35,887 pictures"
    NEEDS = f"{IMAGE_FILES[0]} (or {IMAGE_FILES[1]}) and {VOTE_FILE}, or Parquet shards of both"
    OBTAIN = SOURCES
    HOMEPAGE = "https://github.com/microsoft/FERPlus"
    LICENCE = (
        "The votes are MIT (Microsoft). The pictures carry no open licence: they are crops of web "
        "search results, given out for a Kaggle challenge in 2013 and a research benchmark since. "
        "Do not publish this folder; give others the command that builds it."
    )
    LABELS = FERPLUS
    RULES = tuple(RULES)

    @property
    def vote_names(self) -> tuple[str, ...]:
        """`tuple[str, ...]`: The eight expressions, unknown, and not a face."""
        return VOTES

    def find_splits(self) -> list[str]:
        """The official splits that the files hold; training is always taken to be there."""
        usages = {row.usage for row in _rows(self.root, frozenset(SPLITS.values()) - {"Training"})}
        return [name for name, usage in SPLITS.items() if name == "train" or usage in usages]

    def read_items(self, split: str) -> Iterator[Item | LeftOut]:
        """Rows of one split, in the original order."""
        held_out: AbstractSet[bytes] = frozenset()
        if split == "train" and not self.config.keep_repeats:
            held_out = held_out_digests(self.root)
        for row in _rows(self.root, {SPLITS[split]}):
            label = RULES[self.rule](row.votes)
            if label is None:
                yield LeftOut("without a label")
            elif held_out and row.digest() in held_out:
                yield LeftOut("repeats dropped")
            else:
                key = format(row.row_index, "05d")
                yield Item(
                    key, FERPLUS[label], key, row.row_index, votes=row.votes, data=row.pixels
                )

    @classmethod
    def write_synthetic(cls, root: Path, per_class: int = 2) -> None:
        """`fer2013.csv` and `fer2013new.csv`, nine of ten votes for what is drawn.

        Args:
            root (`Path`): Folder to write.
            per_class (`int`, *optional*, defaults to 2): Rows of each class and split.
        """
        root.mkdir(parents=True, exist_ok=True)
        with (
            (root / IMAGE_FILES[0]).open("w", newline="", encoding="utf-8") as images,
            (root / VOTE_FILE).open("w", newline="", encoding="utf-8") as votes,
        ):
            image_rows, vote_rows = csv.writer(images), csv.writer(votes)
            image_rows.writerow(["emotion", "pixels", "Usage"])
            vote_rows.writerow(["Usage", "Image name", *FERPLUS, "unknown", "NF"])
            rows = itertools.product(SPLITS.values(), range(per_class), FERPLUS)
            for index, (usage, _, label) in enumerate(rows):
                # The red channel is the one in which every seed shows.
                pixels = draw_face(label, index, SIZE).getchannel("R").tobytes()
                image_rows.writerow([0, " ".join(map(str, pixels)), usage])
                counts = [9 * (name == label) + (name == "unknown") for name in VOTES]
                vote_rows.writerow([usage, f"fer{index:07d}.png", *counts])

    def load(self, item: Item, index: int) -> ExpressionRecord:
        """The row with its picture as PNG."""
        picture = FerPlusRow(index, "", item.data, item.votes).png()
        return self.record(item, index, (picture,))
