"""What all builders share: from the tables of a data set to built rows, one shard at a time.

A builder says which pictures and clips its official files name, and what is known of each
([`ExpressionBuilder.read_items`]); this module reads the media, counts what became of every item,
and asks the annotator. A picture that cannot be read is left out, named and counted; it never ends
a build. Writing shards is left to `sharding`, labels to the builders.
"""

import abc
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import datasets

from emo_llama.dataset_builders.clips import read_clip
from emo_llama.dataset_builders.crops import Cropper, NoFaceError, crop_faces
from emo_llama.dataset_builders.files import inside, plain_picture, read_picture
from emo_llama.dataset_builders.options import FACES, BuildOptions
from emo_llama.dataset_builders.schema import (
    CLIP_FEATURES,
    FEATURES,
    Annotator,
    ExpressionRecord,
    Message,
    built_row,
    category_messages,
)
from emo_llama.errors import EmoLlamaError, InputNotFoundError, MediaError, UsageError
from emo_llama.media import VIDEO_SUFFIXES

__all__ = ["CONFIGS", "Entry", "ExpressionBuilder", "ExpressionConfig", "Item", "LeftOut"]

CONFIGS = ("category", "conversation")
"""Configurations of every built data set; the first is the default."""


KEPT_WHOLE = "kept whole"
"""How pictures are counted in which no face was found, and which stay."""


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled picture or clip as the tables of a data set name it, before it is read.

    Args:
        key (`str`):
            The data set's own name of it, unique within a split.
        label (`str`):
            One of the builder's labels.
        file (`str`):
            Where it lies below the root, with `/`: a picture, a video, or a folder of frames.
        row (`int`, *optional*):
            Place in the source; counted within the split where none is given.
        subject (`str`, *optional*, defaults to `""`):
            The person or film, where the data set tells one.
        caption (`str`, *optional*, defaults to `""`):
            A short text that comes with it.
        votes (`tuple[int, ...]`, *optional*, defaults to `()`):
            How many annotators chose each of the builder's `vote_names`.
        data (`bytes`, *optional*):
            The picture itself, where the tables hold it.
        images (`tuple[bytes, ...]`, *optional*, defaults to `()`):
            Its pictures as an earlier configuration has built them: read and cropped once.
    """

    key: str
    label: str
    file: str
    row: int | None = None
    subject: str = ""
    caption: str = ""
    votes: tuple[int, ...] = ()
    data: bytes = b""
    images: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An item of which no row is built.

    Args:
        reason (`str`): What it is counted as, for example `"without a label"`.
        item (`str`, *optional*, defaults to `""`): Its name, for the report.
        message (`str`, *optional*, defaults to `""`):
            What is wrong with it; empty where leaving it out is as it should be.
    """

    reason: str
    item: str = ""
    message: str = ""


Entry = tuple[int, Item | LeftOut]
"""An item with its place in the split."""


@dataclass
class ExpressionConfig(BuildOptions, datasets.BuilderConfig):
    """What to build from a data set: the choices of [`BuildOptions`], and who writes.

    Args:
        annotator (`Annotator`, *optional*):
            Writes the conversation about a record; the configuration `conversation` needs one.
        cropper (`Cropper`, *optional*):
            Finds the faces where `faces` is `"detect"`.
    """

    annotator: Annotator | None = field(default=None, repr=False)
    cropper: Cropper | None = field(default=None, repr=False)


def _config(name: str) -> ExpressionConfig:
    return ExpressionConfig(name=name, version=datasets.Version("1.0.0"))


class ExpressionBuilder(datasets.GeneratorBasedBuilder):
    """Builds instruction data from one data set; `data_dir` is the folder of its official files.

    The configuration `category` has every split that the files hold, `conversation` the training
    split. A subclass names itself in the class attributes and gives `find_splits` and `read_items`.
    """

    NAME: ClassVar[str]
    SUMMARY: ClassVar[str]
    """One sentence: what is in the set."""
    KIND: ClassVar[str] = "image"
    SIZE: ClassVar[str]
    """How many items, as its authors state it."""
    NEEDS: ClassVar[str]
    """The files that are looked for."""
    OBTAIN: ClassVar[str]
    """How to get them, one clause."""
    HOMEPAGE: ClassVar[str]
    LICENCE: ClassVar[str]
    PICTURES_MAY_BE_SHARED: ClassVar[bool | None] = False
    """Whether the licence lets anybody hand the pictures on; `None`: only the user can know."""
    LABELS: ClassVar[tuple[str, ...]] = ()
    RULES: ClassVar[tuple[str, ...]] = ("single",)
    FOLDS: ClassVar[int] = 1
    CLASS_COUNTS: ClassVar[tuple[int, ...]] = ()
    """Sizes of the label set, where there are several."""
    SHARD_ITEMS: ClassVar[int] = 2000
    USUAL_FACES: ClassVar[str] = "none"
    """What `emo-llama data build` does to pictures unless told: `faces` of [`BuildOptions`]."""

    BUILDER_CONFIG_CLASS = ExpressionConfig
    BUILDER_CONFIGS = [_config(name) for name in CONFIGS]

    @property
    def root(self) -> Path:
        """`Path`: Folder of the official files."""
        return Path(str(self.config.data_dir))

    @property
    def labels(self) -> tuple[str, ...]:
        """`tuple[str, ...]`: The label set, in order."""
        return self.LABELS

    @property
    def renamed(self) -> dict[str, str]:
        """`dict[str, str]`: Labels that the user spells otherwise than they are built."""
        return {}

    @property
    def vote_names(self) -> tuple[str, ...]:
        """`tuple[str, ...]`: What each vote stands for; none where items carry one label."""
        return ()

    @property
    def rule(self) -> str:
        """`str`: How a label follows from what annotators said."""
        return self.config.rule or self.RULES[0]

    @abc.abstractmethod
    def find_splits(self) -> list[str]:
        """Names of the splits that the files hold, out of train, validation and test.

        Raises:
            InputNotFoundError: A file that is needed is missing.
        """

    @abc.abstractmethod
    def read_items(self, split: str) -> Iterator[Item | LeftOut]:
        """Every item of a split in the official order, without opening any picture.

        Raises:
            InputNotFoundError: A file that is needed is missing.
            DataFormatError: A table is damaged.
        """

    @classmethod
    @abc.abstractmethod
    def write_synthetic(cls, root: Path, per_class: int = 2) -> None:
        """Writes a small copy of the official layout with drawn faces, to try the pipeline on.

        Args:
            root (`Path`): Folder to write.
            per_class (`int`, *optional*, defaults to 2): Items of each class and split.
        """

    def entries(self, split: str) -> Iterator[Entry]:
        """The items of a split, each once: a second one of the same key is left out."""
        seen: set[str] = set()
        for index, item in enumerate(self.read_items(split)):
            if isinstance(item, Item) and item.key in seen:
                yield index, LeftOut("duplicate ids", item.key, "this id came before in the split")
                continue
            if isinstance(item, Item):
                seen.add(item.key)
            yield index, item

    def load(self, item: Item, index: int) -> ExpressionRecord:
        """Reads the picture or clip of an item.

        Args:
            item (`Item`): The item.
            index (`int`): Its place in the split.

        Returns:
            `ExpressionRecord`: With its pictures, each known to open.

        Raises:
            InputNotFoundError: There is no such file.
            MediaError: It cannot be read, its name leads out of the root, or faces are asked for
                and it shows none.
        """
        path = inside(self.root, item.file)
        video = b""
        kind = _kind(path)
        # a folder of frames is a clip too, but has no bytes of its own to keep
        if kind == "video":
            images = read_clip(path, self.config.num_frames)
            if self.config.clips == "bytes" and path.is_file():
                video = path.read_bytes()
        else:
            images = (read_picture(path),)
        return self.record(item, index, images, kind, video)

    def record(
        self,
        item: Item,
        index: int,
        images: tuple[bytes, ...],
        kind: str = "image",
        video: bytes = b"",
    ) -> ExpressionRecord:
        """An item with its pictures, or the faces in them, in the common schema."""
        images, note = (images, "") if item.images else self._faces(images)
        return ExpressionRecord(
            source=self.NAME,
            row=index if item.row is None else item.row,
            images=images,
            label=item.label,
            labels=self.labels,
            votes=item.votes,
            vote_names=self.vote_names if item.votes else (),
            rule=self.rule,
            key=item.key,
            file=item.file,
            subject=item.subject,
            caption=item.caption,
            kind=kind,
            video=video,
            note=note,
        )

    def _faces(self, images: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], str]:
        """The pictures, or the faces in them, and what is to be counted of that."""
        if self.config.cropper is None:
            return tuple(map(plain_picture, images)), ""
        try:
            return crop_faces(images, self.config.cropper), ""
        except NoFaceError:
            if self.config.faces == "detect":
                raise
        return tuple(map(plain_picture, images)), KEPT_WHOLE

    def records(self, entries: Iterable[Entry], counts: Counter[str]) -> Iterator[ExpressionRecord]:
        """The records of some entries; what is left out is only counted."""
        for _, record in self._read(entries, counts, []):
            yield record

    def rows(
        self, split: str, entries: Iterable[Entry], counts: Counter[str], problems: list[LeftOut]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Built rows of some entries of a split.

        Args:
            split (`str`): The split.
            entries (`Iterable[Entry]`): Some of its entries.
            counts (`Counter[str]`): Is told what became of each, and the labels of what is written.
            problems (`list[LeftOut]`): Gets what was wrong.

        Yields:
            `tuple[int, dict]`: Place in the split, and the row in the columns of `FEATURES`.
        """
        for index, record in self._read(entries, counts, problems):
            messages = self._messages(record, split)
            if messages is None:
                counts["without a conversation"] += 1
                continue
            counts.update(["written", record.label])
            yield index, built_row(record, messages)

    def _read(
        self, entries: Iterable[Entry], counts: Counter[str], problems: list[LeftOut]
    ) -> Iterator[tuple[int, ExpressionRecord]]:
        for index, item in entries:
            counts["read"] += 1
            if isinstance(item, Item):
                item = self._checked(item, index)
            if isinstance(item, ExpressionRecord):
                if item.note:
                    counts[item.note] += 1
                yield index, item
                continue
            counts[item.reason] += 1
            if item.message:
                problems.append(item)

    def _checked(self, item: Item, index: int) -> ExpressionRecord | LeftOut:
        """The record of an item, or why there is none."""
        if item.label not in self.labels:
            return LeftOut("unknown labels", item.key, f"label {item.label!r} is not in the set")
        try:
            if item.images:
                return self.record(item, index, item.images, _kind(inside(self.root, item.file)))
            return self.load(item, index)
        except InputNotFoundError:
            return LeftOut("missing files", item.key, f"{item.file}: no such file below the root")
        except NoFaceError as error:
            return LeftOut("without a face", item.key, str(error))
        except MediaError as error:
            message = str(error).replace(f"{self.root}/", "")
            return LeftOut("unreadable files", item.key, message)
        except EmoLlamaError:
            raise
        except Exception as error:  # noqa: BLE001 - one item becomes its count, whatever it raises
            return LeftOut("unreadable files", item.key, f"{type(error).__name__}: {error}")

    def _messages(self, record: ExpressionRecord, split: str) -> list[Message] | None:
        """The conversation of one row."""
        if self.config.name == "conversation":
            return self.config.annotator(record)
        return category_messages(record, vary=split == "train")

    def _info(self) -> datasets.DatasetInfo:
        """Columns of the built rows; the choices are checked here, before anything is read."""
        config = self.config
        if self.rule not in self.RULES:
            raise UsageError(f"rule {config.rule!r}: expected one of {', '.join(self.RULES)}")
        if not 1 <= config.fold <= self.FOLDS:
            folds = f"folds 1 to {self.FOLDS}" if self.FOLDS > 1 else "no folds"
            raise UsageError(f"fold {config.fold}: {self.NAME} has {folds}. Name another --fold.")
        if config.num_classes not in (0, *self.CLASS_COUNTS):
            counts = " or ".join(map(str, self.CLASS_COUNTS)) or "no choice of"
            given = f"num_classes {config.num_classes}"
            raise UsageError(f"{given}: {self.NAME} has {counts} classes. Name another, or none.")
        if config.clips not in ("frames", "bytes"):
            raise UsageError(f"clips {config.clips!r}: expected frames or bytes")
        if config.faces not in FACES or (config.faces == "none") != (config.cropper is None):
            raise UsageError(
                f"faces {config.faces!r}: expected none, or auto or detect and a cropper="
            )
        if config.cropper is not None and config.clips == "bytes":
            raise UsageError("clips as bytes stay whole: build with --faces none")
        if config.name == "conversation" and config.annotator is None:
            raise UsageError("the configuration conversation needs an annotator; pass annotator=")
        return datasets.DatasetInfo(
            description=self.SUMMARY,
            homepage=self.HOMEPAGE,
            license=self.LICENCE,
            features=CLIP_FEATURES if config.clips == "bytes" else FEATURES,
        )

    def _split_generators(
        self, dl_manager: datasets.DownloadManager
    ) -> list[datasets.SplitGenerator]:
        """One generator for each split of this configuration."""
        return [datasets.SplitGenerator(name, {"split": name}) for name in self.configured_splits()]

    def configured_splits(self) -> list[str]:
        """`find_splits` of the configuration: conversations are for training only."""
        splits = self.find_splits()
        return [name for name in splits if name == "train" or self.config.name != CONFIGS[1]]

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Rows of one split, in the official order."""
        yield from self.rows(split, self.entries(split), Counter(), [])


def _kind(path: Path) -> str:
    """Whether an item is a clip: a video file, or a folder of frames."""
    return "video" if path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES else "image"
