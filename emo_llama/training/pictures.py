"""The pictures of instruction rows, each numbered once however many rows show it."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from datasets import Dataset, Image, List, Value
from PIL import Image as PILImage

from emo_llama.training.augmentation import AugmentedFaces

__all__ = ["NumberedPictures", "number_pictures"]


class NumberedPictures:
    """Pictures of a data set in the order of their first row, and the views that are shown of each.

    Args:
        rows (`datasets.Dataset`): With `images`.
        places (`list[tuple[int, int]]`): Row and position of each picture.
        digests (`list[bytes]`): Of the file of each.
        views (`int`): How often each is changed at random; one view without changes.
        change ([`AugmentedFaces`], *optional*): The random changes.
        seed (`int`): Of the changes.
    """

    def __init__(
        self,
        rows: Dataset,
        places: list[tuple[int, int]],
        digests: list[bytes],
        views: int,
        change: AugmentedFaces | None,
        seed: int,
    ) -> None:
        self.rows, self.places, self.digests = rows, places, digests
        self.views, self.change, self.seed = views if change is not None else 1, change, seed

    def __len__(self) -> int:
        return self.views * len(self.places)

    def key(self) -> list[Any]:
        """All that settles the views.

        Returns:
            `list`: Of plain values.
        """
        digest = hashlib.sha256(b"".join(self.digests)).hexdigest()
        return [digest, self.views, None if self.change is None else self.change.size, self.seed]

    def load(self, numbers: Sequence[int]) -> list[PILImage.Image]:
        """Some views as pictures.

        Args:
            numbers (`Sequence[int]`): Picture times `views` plus view.

        Returns:
            `list[PIL.Image.Image]`: In this order.
        """
        places = [self.places[number // self.views] for number in numbers]
        shown = self.rows.select([row for row, _ in places])["images"]
        pictures = [images[at] for images, (_, at) in zip(shown, places, strict=True)]
        if self.change is None:
            return pictures
        change = replace(self.change, seed=self.seed, epoch=numbers[0])
        changed = change({"images": [[picture] for picture in pictures]})["images"]
        return [picture for (picture,) in changed]


def number_pictures(
    rows: Dataset, views: int, change: AugmentedFaces | None, seed: int
) -> tuple[Dataset, NumberedPictures]:
    """Numbers the pictures of instruction rows; equal files have one number.

    Args:
        rows (`datasets.Dataset`): With `images`.
        views (`int`): Views of each picture, where they are changed.
        change ([`AugmentedFaces`], *optional*): The random changes.
        seed (`int`): Of the changes.

    Returns:
        `tuple[datasets.Dataset, NumberedPictures]`: The rows, their `images` now numbers,
        and the pictures.
    """
    numbers: dict[bytes, int] = {}
    places: list[tuple[int, int]] = []
    column: list[list[int]] = []
    files = rows.select_columns(["images"]).cast_column("images", List(Image(decode=False)))
    for row, item in enumerate(files):
        found = []
        for at, file in enumerate(item["images"]):
            digest = hashlib.sha256(file["bytes"]).digest()
            if digest not in numbers:
                numbers[digest] = len(places)
                places.append((row, at))
            found.append(numbers[digest])
        column.append(found)
    pictures = NumberedPictures(rows, places, list(numbers), views, change, seed)
    numbered = rows.remove_columns("images").add_column(
        "images", column, feature=List(Value("int64"))
    )
    return numbered, pictures
