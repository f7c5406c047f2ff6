"""The one record that every data set is read into, and the one row that every builder writes.

A builder decides where pictures, labels and votes lie in its source; this module decides what a
built row looks like, so that training, evaluation and the Hub see the same columns whatever the
source was.
"""

import io
from dataclasses import dataclass
from typing import Any, Protocol

from datasets import Features, Image, List, Value
from PIL import Image as PILImage

from emo_llama.prompts import CATEGORY_VARIANTS, category_question

__all__ = [
    "FEATURES",
    "Annotator",
    "ExpressionRecord",
    "Message",
    "built_row",
    "category_messages",
]

Message = dict[str, str]
"""One turn: `{"role": "user" or "assistant", "content": text}`."""

FEATURES = Features(
    {
        "id": Value("string"),
        "images": List(Image()),
        "messages": List({"role": Value("string"), "content": Value("string")}),
        "label": Value("string"),
        "labels": List(Value("string")),
        "votes": List(Value("int32")),
        "rule": Value("string"),
        "source": Value("string"),
    }
)
"""Columns of every built row, in both configurations."""


@dataclass(frozen=True, slots=True)
class ExpressionRecord:
    """One labelled face of one data set, before it becomes a conversation.

    Args:
        source (`str`):
            Name of the data set, for example `"ferplus"`.
        row (`int`):
            Place of the record in the source, from 0; with `source` it identifies the record.
        images (`tuple[bytes, ...]`):
            Encoded pictures (PNG or JPEG): one for a still, several for a clip.
        label (`str`):
            The label that `rule` gives.
        labels (`tuple[str, ...]`):
            The label set of the data set, in order.
        votes (`tuple[int, ...]`, *optional*, defaults to `()`):
            How many annotators chose each of `vote_names`; empty where one label is all there is.
        vote_names (`tuple[str, ...]`, *optional*, defaults to `()`):
            What each entry of `votes` stands for, the label set first.
        rule (`str`, *optional*, defaults to `"single"`):
            How the label follows from the votes, for example `"majority"`.
    """

    source: str
    row: int
    images: tuple[bytes, ...]
    label: str
    labels: tuple[str, ...]
    votes: tuple[int, ...] = ()
    vote_names: tuple[str, ...] = ()
    rule: str = "single"

    @property
    def id(self) -> str:
        """`str`: Name of the record, unique over data sets, for example `"ferplus-00012"`."""
        return f"{self.source}-{self.row:05d}"

    def image(self) -> PILImage.Image:
        """The first picture, decoded (`PIL.Image.Image`, mode as stored)."""
        return PILImage.open(io.BytesIO(self.images[0]))


class Annotator(Protocol):
    """Writes the conversation about a record."""

    def __call__(self, record: ExpressionRecord) -> list[Message]:
        """Turns about the record that alternate user and assistant, user first."""

    def summary(self) -> str:
        """What was written so far and from what, one paragraph for the built folder's README."""


def built_row(record: ExpressionRecord, messages: list[Message]) -> dict[str, Any]:
    """The row that a builder yields for a record, in the columns of `FEATURES`.

    Args:
        record (`ExpressionRecord`):
            The face.
        messages (`list[dict[str, str]]`):
            The conversation; its first user turn is about the pictures.

    Returns:
        `dict[str, Any]`: One example; pictures are embedded as bytes, so that the built folder
        holds no path.
    """
    return {
        "id": record.id,
        "images": [{"bytes": image, "path": None} for image in record.images],
        "messages": messages,
        "label": record.label,
        "labels": list(record.labels),
        "votes": list(record.votes),
        "rule": record.rule,
        "source": record.source,
    }


def category_messages(record: ExpressionRecord, vary: bool = False) -> list[Message]:
    """The category instruction of a record: the options in braces, answered by the bare label.

    Args:
        record (`ExpressionRecord`):
            The face.
        vary (`bool`, *optional*, defaults to `False`):
            Whether every second row asks in another wording; only training does.

    Returns:
        `list[dict[str, str]]`: One turn of the user and one of the assistant.
    """
    others = len(CATEGORY_VARIANTS) - 1
    variant = 1 + record.row // 2 % others if vary and record.row % 2 else 0
    kind = "video" if len(record.images) > 1 else "image"
    question = category_question(record.labels, kind, variant)
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": record.label},
    ]
