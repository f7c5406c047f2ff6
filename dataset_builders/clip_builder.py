"""What the builders of clip sets share: finding tables and clips, and telling labels.

Such a set comes as video files, as folders of frames, or as both, and copies differ in the names of
folders. A builder lists the names that are met and reads its own tables; this module looks for the
first that is there, and says what it looked for where none is.
"""

import abc
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from emo_llama.dataset_builders.base import ExpressionBuilder, Item, LeftOut
from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.labels import canonical
from emo_llama.media import VIDEO_SUFFIXES

__all__ = ["ClipBuilder", "ListedClip", "clip_stem", "table_lines"]

VIDEO_TYPES = (".mp4", ".avi")
"""Suffixes of clips, the likely one first."""

MAX_LINE = 200
"""Characters of a line in a table; official lines are far shorter, and files have no such names."""


@dataclass(frozen=True, slots=True)
class ListedClip:
    """One clip as a table lists it.

    Args:
        key (`str`): The data set's own name of it.
        label (`str`): What the table says: an id or a name.
        names (`tuple[str, ...]`): What the file or folder may be called, without a suffix.
        subject (`str`, *optional*, defaults to `""`): The person or scene.
        caption (`str`, *optional*, defaults to `""`): A short text that comes with it.
    """

    key: str
    label: str
    names: tuple[str, ...]
    subject: str = ""
    caption: str = ""


class ClipBuilder(ExpressionBuilder):
    """A builder of clips with an official training and test split.

    A subclass lists names in the class attributes and gives `read_table`. Frames are taken from
    folders of frames where these are there; `clips="bytes"` looks for video files only.
    """

    KIND = "video"
    TABLES: ClassVar[tuple[str, ...]]
    """Where the table of a split may lie below the root, with `{split}` and `{fold}`."""
    VIDEOS: ClassVar[tuple[str, ...]]
    """Folders of video files below the root; `*` stands for any name."""
    FRAMES: ClassVar[tuple[str, ...]]
    """Folders that hold a folder of frames for each clip."""
    FIRST_ID: ClassVar[int] = 1
    """The id of the first label."""

    @abc.abstractmethod
    def read_table(self, path: Path) -> Iterator[ListedClip]:
        """Every clip of one split, in the official order.

        Raises:
            DataFormatError: The table is damaged.
        """

    def find_splits(self) -> list[str]:
        """Both official splits, once their tables and a folder of clips are known to be there."""
        splits = ["train", "test"]
        for split in splits:
            self.table(split)
        self.clip_folders()
        return splits

    def read_items(self, split: str) -> Iterator[Item | LeftOut]:
        """The clips of a split, each with the first place where it lies."""
        path, folders = self.table(split), self.clip_folders()
        empty = True
        for clip in self.read_table(path):
            empty = False
            label = self.label(clip)
            if label is None:
                ids = f"{self.FIRST_ID} to {self.FIRST_ID + len(self.labels) - 1}"
                message = f"label {clip.label!r}: expected {ids} or a name of the set"
                yield LeftOut("unknown labels", clip.key, message)
                continue
            file = self.clip_file(clip.names, folders)
            yield Item(clip.key, label, file, subject=clip.subject, caption=clip.caption)
        if empty:
            raise DataFormatError(f"{path}: expected lines of clips, found none. {self.OBTAIN}.")

    def label(self, clip: ListedClip) -> str | None:
        """The label that a table gives by its id or by its name; `None` where it is not known."""
        ids = {str(place): name for place, name in enumerate(self.labels, self.FIRST_ID)}
        try:
            return ids.get(clip.label) or canonical(clip.label)
        except KeyError:
            return None

    def table(self, split: str) -> Path:
        """The table of a split.

        Raises:
            InputNotFoundError: The root or the table is missing.
        """
        if not self.root.is_dir():
            raise InputNotFoundError(
                f"{self.root}: expected the folder that holds {self.NAME}. {self.OBTAIN}."
            )
        names = [name.format(split=split, fold=self.config.fold) for name in self.TABLES]
        for name in names:
            if (self.root / name).is_file():
                return self.root / name
        raise InputNotFoundError(
            f"{self.root}: found no table of the split {split}; looked for {', '.join(names)}. "
            f"{self.OBTAIN}."
        )

    def clip_folders(self) -> list[tuple[str, bool]]:
        """The folders of clips that are there, and whether each is one of frames.

        Raises:
            InputNotFoundError: There is none.
        """
        kinds = [(self.VIDEOS, False)]
        if self.config.clips == "frames":
            kinds = [(self.FRAMES, True), *kinds]
        found = [
            (path.relative_to(self.root).as_posix(), frames)
            for names, frames in kinds
            for name in names
            for path in sorted(self.root.glob(name))
            if path.is_dir()
        ]
        if not found:
            names = dict.fromkeys(name for names, _ in kinds for name in names)
            kind = "video files" if self.config.clips == "bytes" else "clips"
            raise InputNotFoundError(
                f"{self.root}: found no folder of {kind}; looked for {', '.join(names)}. "
                f"{self.OBTAIN}."
            )
        return found

    def clip_file(self, names: tuple[str, ...], folders: list[tuple[str, bool]]) -> str:
        """Where a clip lies below the root; the likeliest place where it lies nowhere."""
        places = [
            f"{folder}/{name}{suffix}"
            for folder, frames in folders
            for name in names
            for suffix in (("",) if frames else VIDEO_TYPES)
        ]
        # Not Path.exists: it raises on names that no file can have.
        return next((place for place in places if os.path.exists(self.root / place)), places[0])


def clip_stem(name: str) -> str:
    """The name of a clip without the suffix of a video file.

    Args:
        name (`str`): As a table gives it, with or without a suffix.

    Returns:
        `str`: Without.
    """
    path = Path(name)
    return name.removesuffix(path.suffix) if path.suffix.lower() in VIDEO_SUFFIXES else name


def table_lines(path: Path, advice: str) -> Iterator[tuple[int, list[str]]]:
    """The lines of a table without a header, whose fields stand between blanks or commas.

    Args:
        path (`Path`):
            The file, UTF-8.
        advice (`str`):
            What the reader of an error message should do next.

    Yields:
        `tuple[int, list[str]]`: Number of the line, from 1, and its fields; empty lines are
        stepped over.

    Raises:
        DataFormatError: The file is no text, or a line has fewer than two fields or is too long.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise DataFormatError(f"{path}: expected a text file ({error}). {advice}.") from error
    for number, line in enumerate(text.splitlines(), 1):
        fields = [field for field in re.split(r"[\s,]+", line) if field]
        if not fields:
            continue
        if len(fields) < 2 or len(line) > MAX_LINE:
            raise DataFormatError(
                f"{path}, line {number}: expected a clip and its label, found {line[:80]!r}; the "
                f"file may be cut off. {advice}."
            )
        yield number, fields
