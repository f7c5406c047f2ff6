"""The pictures of instruction rows, each numbered once however many rows show it."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from datasets import Dataset, Image, List, Value
from PIL import Image as PILImage

from emo_llama.training.data.augmentation import AugmentedFaces

__all__ = ["NumberedPictures", "number_pictures"]


class NumberedPictures:
    """Pictures of a data set, and the views that are shown of each.

    They depend on the files alone, not on the order of the rows or a seed, so that every run over
    the same pictures has the same.

    Args:
        rows (`datasets.Dataset`): With `images`.
        places (`list[tuple[int, int]]`): Row and position of each picture.
        digests (`list[bytes]`): Of the file of each.
        views (`int`): How often each is changed at random; one view without changes.
        change ([`AugmentedFaces`], *optional*): The random changes.
    """

    def __init__(
        self,
        rows: Dataset,
        places: list[tuple[int, int]],
        digests: list[bytes],
        views: int,
        change: AugmentedFaces | None,
    ) -> None:
        self.rows, self.places, self.digests = rows, places, digests
        self.views, self.change = views if change is not None else 1, change

    def __len__(self) -> int:
        return self.views * len(self.places)

    def key(self) -> list[Any]:
        """All that settles the views.

        Returns:
            `list`: Of plain values.
        """
        digest = hashlib.sha256(b"".join(self.digests)).hexdigest()
        return [digest, self.views, None if self.change is None else self.change.size]

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
        change = replace(self.change, seed=0, epoch=numbers[0])
        changed = change({"images": [[picture] for picture in pictures]})["images"]
        return [picture for (picture,) in changed]


def number_pictures(
    rows: Dataset, views: int, change: AugmentedFaces | None
) -> tuple[Dataset, NumberedPictures]:
    """Numbers the pictures of instruction rows in the order of their digests; equal files have one.

    Args:
        rows (`datasets.Dataset`): With `images`.
        views (`int`): Views of each picture, where they are changed.
        change ([`AugmentedFaces`], *optional*): The random changes.

    Returns:
        `tuple[datasets.Dataset, NumberedPictures]`: The rows, their `images` now numbers,
        and the pictures.
    """
    files = rows.select_columns(["images"]).cast_column("images", List(Image(decode=False)))
    seen = [[hashlib.sha256(f["bytes"]).digest() for f in item["images"]] for item in files]
    places: dict[bytes, tuple[int, int]] = {}
    for row, digests in enumerate(seen):
        for at, digest in enumerate(digests):
            places.setdefault(digest, (row, at))
    order = sorted(places)
    numbers = {digest: number for number, digest in enumerate(order)}
    pictures = NumberedPictures(rows, [places[d] for d in order], order, views, change)
    column = [[numbers[digest] for digest in digests] for digests in seen]
    numbered = rows.remove_columns("images").add_column(
        "images", column, feature=List(Value("int64"))
    )
    return numbered, pictures
