"""Answers of the frozen encoders, computed once and kept on disk.

Where neither the vision tower nor the face network learns, each picture gives the same features in
every epoch and in every run over the same encoders. Decides what is kept of each encoder, how it is
known that it belongs to these weights and pictures, and what stands in for the encoders while the
rest learns. The pictures come from [`emo_llama.training.data.pictures`].
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import PartialState
from filelock import FileLock
from torch import nn
from tqdm import tqdm
from transformers import BatchFeature
from transformers.modeling_outputs import BaseModelOutput

from emo_llama.errors import UsageError
from emo_llama.modeling import (
    EmoLlamaForConditionalGeneration,
    EmoLlamaImageProcessor,
    EmoLlamaProcessor,
)
from emo_llama.training.data.pictures import NumberedPictures
from emo_llama.training.processes import on_main

__all__ = ["FeatureStore", "StoredPictures", "store_features", "stored_encoders"]

FORMAT = 2
FACTS, DTYPES, DONE = "features.json", "dtypes.json", "done"
MASK = "face_mask"
FACE_ARRAYS = ("feature_map", "task_tokens", "landmarks")
BATCH = 64
UNREAD = {
    "vision_tower": {"do_face_crop", "face_size", "face_image_mean", "face_image_std"},
    "face_model": {
        "do_face_crop",
        "vision_input",
        "size",
        "do_resize",
        "do_pad",
        "do_center_crop",
        "image_mean",
        "image_std",
    },
}
"""Settings of the image processor that change nothing for an encoder, by encoder."""


class FeatureStore(NamedTuple):
    """Features on disk, row by row, read through a memory map.

    Args:
        arrays (`dict[str, np.ndarray]`): Each `(N, ...)`, by name; bfloat16 as its bits.
        dtypes (`dict[str, str]`): Names of their types.
        offset (`int`, *optional*, defaults to 0): Number of the first row.
    """

    arrays: dict[str, np.ndarray]
    dtypes: dict[str, str]
    offset: int = 0

    def end(self) -> int:
        """Number behind the last row.

        Returns:
            `int`: The offset of whatever follows.
        """
        return self.offset + len(next(iter(self.arrays.values())))

    def read(self, name: str, numbers: torch.Tensor) -> torch.Tensor:
        """Features of some pictures.

        Args:
            name (`str`): The array.
            numbers (`torch.LongTensor`): Which rows.

        Returns:
            `torch.Tensor` of shape `(n, ...)`: On the device of `numbers`.
        """
        places = numbers.flatten().cpu().numpy() - self.offset
        rows = torch.from_numpy(self.arrays[name][places])
        return rows.view(getattr(torch, self.dtypes[name])).to(numbers.device)


def store_features(
    model: EmoLlamaForConditionalGeneration,
    processor: EmoLlamaProcessor,
    pictures: NumberedPictures,
    root: Path,
) -> FeatureStore:
    """Runs the frozen encoders over pictures, unless that has been done.

    What was cut off goes on where it ended.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): Its tower and face network must be frozen.
        processor ([`EmoLlamaProcessor`]): Prepares the pictures.
        pictures ([`NumberedPictures`]): The pictures, and what is changed in each of their views.
        root (`Path`): Each encoder has a folder of its own in it, for these pictures.

    Returns:
        [`FeatureStore`]: A row for each view of each picture, of both encoders.

    Raises:
        UsageError: An encoder is trained, or the folder holds something else.
    """
    arrays: dict[str, np.ndarray] = {}
    dtypes: dict[str, str] = {}
    for part in UNREAD:
        encoder = getattr(model.model, part)
        if encoder is None:
            continue
        if any(p.requires_grad for p in encoder.parameters()):
            raise UsageError(
                f"feature_cache: {part} is trained, so that its features change. Name it in "
                "`frozen`, or leave feature_cache out."
            )
        key = _fingerprint(part, encoder, processor, pictures)
        folder = root / key[:16]
        on_main(partial(_finish, part, encoder, processor, pictures, folder, key))
        kept = _open(folder, key)
        arrays |= kept.arrays
        dtypes |= kept.dtypes
    return FeatureStore(arrays, dtypes)


def _finish(
    part: str,
    encoder: nn.Module,
    processor: EmoLlamaProcessor,
    pictures: NumberedPictures,
    folder: Path,
    key: str,
) -> None:
    """Fills a folder unless it is there; it has its final name when it is whole.

    Runs beside each other wait for the one that fills it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if (folder / FACTS).is_file():
            return
        unfinished = folder.with_name(f"{folder.name}.part")
        _fill(part, encoder, processor, pictures, unfinished)
        dtypes = json.loads((unfinished / DTYPES).read_text(encoding="utf-8"))
        facts = {"format": FORMAT, "key": key, "dtypes": dtypes}
        (unfinished / FACTS).write_text(json.dumps(facts, indent=2), encoding="utf-8")
        for name in (DTYPES, DONE):
            (unfinished / name).unlink()
        unfinished.replace(folder)


def _open(folder: Path, key: str) -> FeatureStore:
    """What lies in a finished folder."""
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    if facts["key"] != key:
        raise UsageError(
            f"{folder}: holds the features of other weights or pictures. Remove the folder, or "
            "name another feature_cache."
        )
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in facts["dtypes"]}
    return FeatureStore(arrays, facts["dtypes"])


def _fingerprint(
    part: str, encoder: Any, processor: EmoLlamaProcessor, pictures: NumberedPictures
) -> str:
    """One digest of all that the features depend on: weights, settings, pictures and changes."""
    digest = hashlib.sha256(json.dumps([FORMAT, part, pictures.key()]).encode())
    images = processor.image_processor.to_dict()
    images = {name: value for name, value in images.items() if name not in UNREAD[part]}
    digest.update(json.dumps(images, sort_keys=True, default=str).encode())
    settings = {k: v for k, v in encoder.config.to_dict().items() if k != "_name_or_path"}
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bits(tensor).tobytes())
    return digest.hexdigest()


def _fill(
    part: str,
    encoder: nn.Module,
    processor: EmoLlamaProcessor,
    pictures: NumberedPictures,
    folder: Path,
) -> None:
    """Writes the arrays batch by batch; `DONE` says how far it has come."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / DONE
    done = int(mark.read_text(encoding="utf-8")) if mark.is_file() else 0
    arrays: dict[str, np.ndarray] = {}
    home = next(encoder.parameters()).device
    encoder.eval().to(PartialState().device)
    starts = range(done, len(pictures), BATCH)
    for start in tqdm(starts, desc=part, unit_scale=BATCH, unit=" pictures", disable=None):
        images = pictures.load(range(start, min(start + BATCH, len(pictures))))
        features = _encode(part, encoder, processor, images)
        if not arrays:
            arrays = _arrays(folder, features, len(pictures), is_new=done == 0)
        for name, rows in features.items():
            arrays[name][start : start + len(images)] = _bits(rows)
            arrays[name].flush()  # type: ignore[attr-defined]
        mark.write_text(str(start + len(images)), encoding="utf-8")
    encoder.to(home)


def _arrays(
    folder: Path, features: dict[str, torch.Tensor], count: int, is_new: bool
) -> dict[str, np.ndarray]:
    """Memory maps to write, made where they are missing."""
    size = sum(_bits(rows[:1]).nbytes for rows in features.values()) * count
    if is_new and size > shutil.disk_usage(folder).free:
        raise UsageError(
            f"{folder}: the features need {size / 1e9:.0f} GB, and there is less space. Name a "
            "feature_cache on another disk, or fewer feature_views."
        )
    dtypes = {name: str(rows.dtype).removeprefix("torch.") for name, rows in features.items()}
    (folder / DTYPES).write_text(json.dumps(dtypes), encoding="utf-8")
    if not is_new:
        return {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in features}
    return {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", _bits(rows).dtype, (count, *rows.shape[1:])
        )
        for name, rows in features.items()
    }


@torch.inference_mode()
def _encode(
    part: str, encoder: Any, processor: EmoLlamaProcessor, images: list[Any]
) -> dict[str, torch.Tensor]:
    """What a frozen encoder says of some pictures, as the model itself runs it."""
    inputs = processor.image_processor(images, return_tensors="pt")
    if part == "vision_tower":
        pixels = inputs["pixel_values"].to(encoder.device, encoder.dtype)
        return {"vision_states": encoder(pixels, return_dict=True).last_hidden_state}
    crops = inputs["face_pixel_values"].to(encoder.device, encoder.dtype)
    features = dict(zip(FACE_ARRAYS, encoder.encode(crops), strict=True))
    return features | {MASK: inputs[MASK]}


def _bits(tensor: torch.Tensor) -> np.ndarray:
    """As an array; numpy has no bfloat16, which is kept as its bits."""
    tensor = tensor.detach().cpu().contiguous()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


class StoredPictures:
    """Stands in for the image processor: passes on the numbers of pictures.

    Frames of clips come here, too, as the processor takes them for images.

    Args:
        store ([`FeatureStore`]): Knows which pictures hold a face.
    """

    model_input_names = ("pixel_values", "face_pixel_values", MASK)
    valid_kwargs = EmoLlamaImageProcessor.valid_kwargs

    def __init__(self, store: FeatureStore) -> None:
        self.store = store

    def fetch_images(self, images: Any) -> Any:
        """Numbers need no fetching.

        Args:
            images (`list`): Arrays as [`ShownRows`] gives them.

        Returns:
            `list`: The same.
        """
        return images

    def __call__(self, images: Sequence[Any], **kwargs: Any) -> BatchFeature:
        """Nested lists of arrays of one number -> (n,) numbers as the encoders' inputs."""
        numbers = torch.tensor([int(number.item()) for number in _flat(images)])
        numbers = numbers + self.store.offset
        data = {"pixel_values": numbers}
        if MASK in self.store.arrays:
            data |= {"face_pixel_values": numbers, MASK: self.store.read(MASK, numbers)}
        return BatchFeature(data)


class _StoredTower(nn.Module):
    """Stands in for the vision tower."""

    dtype = torch.int64

    def __init__(self, stores: Sequence[FeatureStore]) -> None:
        super().__init__()
        self.stores = stores

    def forward(self, numbers: torch.Tensor, **kwargs: Any) -> BaseModelOutput:
        """Numbers (n,) -> what the tower has said of these pictures."""
        states = _store_of(self.stores, numbers).read("vision_states", numbers)
        return BaseModelOutput(last_hidden_state=states)


class _StoredFaces(nn.Module):
    """Stands in for the face network."""

    dtype = torch.int64

    def __init__(self, stores: Sequence[FeatureStore]) -> None:
        super().__init__()
        self.stores = stores

    def encode(self, numbers: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Numbers (n,) -> feature map, task tokens and landmarks of these pictures."""
        store = _store_of(self.stores, numbers)
        return tuple(store.read(name, numbers) for name in FACE_ARRAYS)


def _store_of(stores: Sequence[FeatureStore], numbers: torch.Tensor) -> FeatureStore:
    """The store that holds a batch; a batch is of one split."""
    return next(store for store in stores if numbers.flatten()[0] < store.end())


@contextmanager
def stored_encoders(
    model: EmoLlamaForConditionalGeneration, stores: Sequence[FeatureStore]
) -> Iterator[None]:
    """Puts stored features in the encoders' place; in the end the encoders come back.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): The model.
        stores (`Sequence[FeatureStore]`):
            Of each split, the first number of each behind the last of the one before. Without any
            nothing happens.
    """
    if not stores:
        yield
        return
    inner = model.model
    tower, face = inner.vision_tower, inner.face_model
    inner.vision_tower = None if tower is None else _StoredTower(stores)
    inner.face_model = None if face is None else _StoredFaces(stores)
    try:
        yield
    finally:
        inner.vision_tower, inner.face_model = tower, face


def _flat(images: Any) -> Iterator[Any]:
    """The leaves of nested lists, in order."""
    if isinstance(images, (list, tuple)):
        for part in images:
            yield from _flat(part)
    else:
        yield images
