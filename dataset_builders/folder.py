"""A user's own pictures and clips, sorted into sub-folders or listed in a table.

How the files are found is left to `listing`. This module decides the label set (the names that are
met, sorted, in the project's spelling where it knows one) and, where no splits are given, which
tenth is held out: by a hash, so that the same files go to the same split on every machine.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from emo_llama.dataset_builders.base import ExpressionBuilder, Item, LeftOut
from emo_llama.dataset_builders.listing import ADVICE, Listed, listed_files
from emo_llama.dataset_builders.synthetic import save_face
from emo_llama.errors import DataFormatError

__all__ = ["Folder"]

SPLITS = ("train", "validation", "test")
HELD_OUT = 10
"""One in so many is held out for validation, and at least one."""

DRAWN_CLASSES = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    "surprise": "surprise",
}
"""Folders of the synthetic copy, and the faces drawn into them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one look at all files decides.

    Args:
        labels (`tuple[str, ...]`): The label set, sorted.
        splits (`tuple[str, ...]`): The splits, in the usual order.
        given (`bool`): Whether the user's folder tells the splits.
        by_subject (`bool`): Whether whole persons are held out, not single files.
        bounds (`dict[str, int]`):
            For each label (by subject: for `""`), the largest hash of what is held out.
        renamed (`dict[str, str]`): Labels that the user spells otherwise, and the project's names.
    """

    labels: tuple[str, ...]
    splits: tuple[str, ...]
    given: bool
    by_subject: bool
    bounds: dict[str, int]
    renamed: dict[str, str]

    def split_of(self, listed: Listed) -> str:
        """The split of a file; empty where others have one and it has none."""
        if self.given:
            return listed.split
        name, group = _hashed(listed, self.by_subject)
        return "validation" if _hash(name) <= self.bounds.get(group, -1) else "train"


class Folder(ExpressionBuilder):
    """Builds instruction data from a user's own folder; `data_dir` is that folder."""

    NAME = "folder"
    SUMMARY = "A folder of one's own pictures or clips, one sub-folder a class or with a table."
    KIND = "image or video"
    SIZE = "any number of files"
    NEEDS = (
        "one sub-folder a class, directly or below train/, validation/ and test/; or labels.csv or "
        "labels.jsonl with path and label, and optionally split and subject"
    )
    OBTAIN = ADVICE
    USUAL_FACES = "auto"
    HOMEPAGE = "one's own folder"
    PICTURES_MAY_BE_SHARED = None
    LICENCE = (
        "Nothing is known of the rights in these files. Do not publish this folder unless they are "
        "yours and the persons in them have agreed."
    )

    @property
    def labels(self) -> tuple[str, ...]:
        """`tuple[str, ...]`: The labels that the folder names, sorted."""
        return self.plan.labels

    @property
    def renamed(self) -> dict[str, str]:
        """`dict[str, str]`: Labels as the user spells them, and as they are built."""
        return self.plan.renamed

    @cached_property
    def plan(self) -> Plan:
        """`Plan`: Labels and splits, from one look at all names; no file is opened.

        Raises:
            InputNotFoundError: There is no such folder, or nothing in it is labelled.
            DataFormatError: The table is damaged, or names fewer than two labels.
        """
        spelled: dict[str, str] = {}
        splits: set[str] = set()
        by_subject = False
        for listed in listed_files(self.root):
            if isinstance(listed, Listed):
                spelled[listed.given] = listed.label
                splits.add(listed.split)
                by_subject = by_subject or bool(listed.subject)
        labels = sorted(set(spelled.values()))
        if len(labels) < 2:
            found = f"only {labels[0]!r}" if labels else "none"
            raise DataFormatError(
                f"{self.root}: expected files of two classes or more, found {found}. Please "
                f"{ADVICE}."
            )
        is_split = bool(splits - {""})
        bounds = {} if is_split else self._bounds(by_subject)
        known = splits if is_split else {"train", "validation"} if bounds else {"train"}
        names = tuple(name for name in SPLITS if name in known)
        renamed = {given: label for given, label in sorted(spelled.items()) if given != label}
        return Plan(tuple(labels), names, is_split, by_subject, bounds, renamed)

    def find_splits(self) -> list[str]:
        """The splits that are given, or train and the held-out validation."""
        return list(self.plan.splits)

    def read_items(self, split: str) -> Iterator[Item | LeftOut]:
        """The files of a split; what belongs to none comes with the first split.

        A file's path below the root is its key.
        """
        first = split == self.plan.splits[0]
        for listed in listed_files(self.root):
            if isinstance(listed, LeftOut):
                if first:
                    yield listed
                continue
            place = self.plan.split_of(listed)
            if place == split:
                yield Item(listed.file, listed.label, listed.file, subject=listed.subject)
            elif first and not place:
                message = "no split is given, but other files have one"
                yield LeftOut("unknown splits", listed.file, message)

    @classmethod
    def write_synthetic(cls, root: Path, per_class: int = 2) -> None:
        """Sub-folders of seven classes below train, validation and test.

        Args:
            root (`Path`): Folder to write.
            per_class (`int`, *optional*, defaults to 2): Pictures of each class and split.
        """
        seed = 0
        for split in SPLITS:
            for name, label in DRAWN_CLASSES.items():
                for number in range(1, per_class + 1):
                    save_face(root / split / name / f"{number:04d}.jpg", label, seed, size=160)
                    seed += 1

    def _bounds(self, by_subject: bool) -> dict[str, int]:
        """`Plan.bounds`: the smallest hashes of each group are held out."""
        hashes: dict[str, set[int]] = {}
        for listed in listed_files(self.root):
            if isinstance(listed, Listed):
                name, group = _hashed(listed, by_subject)
                hashes.setdefault(group, set()).add(_hash(name))
        counts = {group: max(1, len(values) // HELD_OUT) for group, values in hashes.items()}
        return {
            group: sorted(values)[counts[group] - 1]
            for group, values in hashes.items()
            if len(values) > 1
        }


def _hashed(listed: Listed, by_subject: bool) -> tuple[str, str]:
    """What decides about the split of a file, and the group of which a tenth is held out."""
    return (listed.subject or listed.file, "") if by_subject else (listed.file, listed.label)


def _hash(name: str) -> int:
    """64 bits that are the same on every machine."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
