"""The one record that every data set is read into, and the one row that every builder writes.

A builder decides where pictures, labels and votes lie in its source; this module decides what a
built row looks like, so that training, evaluation and the Hub see the same columns whatever the
source was.
"""

import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from datasets import Features, Image, List, Value, Video
from PIL import Image as PILImage

from emo_llama.prompts import CATEGORY_VARIANTS, category_question

__all__ = [
    "CLIP_FEATURES",
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
        "file": Value("string"),
        "subject": Value("string"),
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

CLIP_FEATURES = Features({**FEATURES, "videos": List(Video(decode=False))})
"""The same where clips are kept as they are: their bytes, which `datasets` does not decode."""


@dataclass(frozen=True, slots=True)
class ExpressionRecord:
    """One labelled face of one data set, a still or a clip, before it becomes a conversation.

    Args:
        source (`str`):
            Name of the data set, for example `"ferplus"`.
        row (`int`):
            Place of the record in the source, from 0; with `source` it identifies the record.
        images (`tuple[bytes, ...]`):
            Encoded pictures (PNG or JPEG): one for a still, the sampled frames for a clip.
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
        key (`str`, *optional*):
            The data set's own name of the record; the row where there is none.
        file (`str`, *optional*, defaults to `""`):
            Where the picture or clip lies in the official layout, relative, with `/`.
        subject (`str`, *optional*, defaults to `""`):
            The data set's own name of the person or of the film, where it tells one.
        caption (`str`, *optional*, defaults to `""`):
            A short text that comes with the record (MAFW).
        kind (`str`, *optional*, defaults to `"image"`):
            `"image"` or `"video"`.
        video (`bytes`, *optional*):
            The clip's file, where the built row shall hold it in the place of frames.
        note (`str`, *optional*, defaults to `""`):
            What is worth counting of it, for example `"kept whole"`.
    """

    source: str
    row: int
    images: tuple[bytes, ...]
    label: str
    labels: tuple[str, ...]
    votes: tuple[int, ...] = ()
    vote_names: tuple[str, ...] = ()
    rule: str = "single"
    key: str = ""
    file: str = ""
    subject: str = ""
    caption: str = ""
    kind: str = "image"
    video: bytes = b""
    note: str = ""

    @property
    def id(self) -> str:
        """`str`: Name of the record, unique over data sets, for example `"ferplus-00012"`."""
        return f"{self.source}-{self.key or format(self.row, '05d')}"

    def image(self) -> PILImage.Image:
        """The first picture, decoded (`PIL.Image.Image`, mode as stored)."""
        return PILImage.open(io.BytesIO(self.images[0]))


class Annotator(Protocol):
    """Writes the conversation about a record."""

    counts: Counter[str]
    """What was written so far and from what; a build adds up what its parts counted."""

    def prepare(self, records: Iterable[ExpressionRecord]) -> None:
        """Does beforehand what is better done for many records at once."""

    def __call__(self, record: ExpressionRecord) -> list[Message] | None:
        """Turns about the record that alternate user and assistant, user first; `None`: none."""

    def provenance(self) -> dict[str, str]:
        """What decides the text: name, model, version of the prompt."""

    def summary(self) -> str:
        """What `counts` says, one paragraph for the built folder's README."""


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
    row: dict[str, Any] = {
        "id": record.id,
        "file": record.file,
        "subject": record.subject,
        "images": [{"bytes": image, "path": None} for image in record.images],
        "messages": messages,
        "label": record.label,
        "labels": list(record.labels),
        "votes": list(record.votes),
        "rule": record.rule,
        "source": record.source,
    }
    if record.video:
        row |= {"images": [], "videos": [{"bytes": record.video, "path": None}]}
    return row  # a still among kept clips has no `videos`: datasets fills in nothing


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
    question = category_question(record.labels, record.kind, variant)
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": record.label},
    ]
