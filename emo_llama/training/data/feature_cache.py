"""Answers of the frozen encoders, computed once and kept on disk.

Where neither the vision tower nor the face network learns, each picture gives the same features in
every epoch and in every run over the same encoders. Decides what is kept of each encoder, how it is
known that it belongs to these weights and pictures. Its rows are batches like any other: the model
reads them in the place of pixels. The pictures come from [`emo_llama.training.data.pictures`].
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import PartialState
from filelock import FileLock
from tqdm import tqdm

from emo_llama.errors import UsageError
from emo_llama.modeling import (
    EmoLlamaEncodings,
    EmoLlamaForConditionalGeneration,
    EmoLlamaProcessor,
)
from emo_llama.training.data.pictures import NumberedPictures
from emo_llama.training.processes import on_main

__all__ = ["FeatureStore", "store_features"]

FORMAT = 3
FACTS, DTYPES, DONE = "features.json", "dtypes.json", "done"
INPUTS = {"vision_tower": ("pixel_values",), "face_model": ("face_pixel_values", "face_mask")}
"""What each encoder is shown."""
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
        arrays (`dict[str, np.ndarray]`):
            Each `(N, ...)`, by its name in [`EmoLlamaEncodings`]; bfloat16 as its bits.
        dtypes (`dict[str, str]`): Names of their types.
    """

    arrays: dict[str, np.ndarray]
    dtypes: dict[str, str]

    def read(self, numbers: Sequence[int]) -> EmoLlamaEncodings:
        """The encodings of some pictures.

        Args:
            numbers (`Sequence[int]`): Which rows.

        Returns:
            [`EmoLlamaEncodings`]: These, in this order.
        """
        places = np.asarray(numbers)
        rows = {name: torch.from_numpy(array[places]) for name, array in self.arrays.items()}
        return EmoLlamaEncodings(
            **{name: row.view(getattr(torch, self.dtypes[name])) for name, row in rows.items()}
        )


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
        on_main(partial(_finish, part, model, processor, pictures, folder, key))
        kept = _open(folder, key)
        arrays |= kept.arrays
        dtypes |= kept.dtypes
    return FeatureStore(arrays, dtypes)


def _finish(
    part: str,
    model: EmoLlamaForConditionalGeneration,
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
        _fill(part, model, processor, pictures, unfinished)
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
    model: EmoLlamaForConditionalGeneration,
    processor: EmoLlamaProcessor,
    pictures: NumberedPictures,
    folder: Path,
) -> None:
    """Writes the arrays batch by batch; `DONE` says how far it has come."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / DONE
    done = int(mark.read_text(encoding="utf-8")) if mark.is_file() else 0
    arrays: dict[str, np.ndarray] = {}
    encoder = getattr(model.model, part)
    home = next(encoder.parameters()).device
    encoder.eval().to(PartialState().device)
    starts = range(done, len(pictures), BATCH)
    for start in tqdm(starts, desc=part, unit_scale=BATCH, unit=" pictures", disable=None):
        images = pictures.load(range(start, min(start + BATCH, len(pictures))))
        features = _encode(part, model, processor, images)
        if not arrays:
            arrays = _arrays(folder, features, len(pictures), is_new=done == 0)
        for name, rows in features.items():
            arrays[name][start : start + len(images)] = _bits(rows)
            arrays[name].flush()  # type: ignore[attr-defined]
        mark.write_text(str(start + len(images)), encoding="utf-8")
    encoder.to(home)


def _arrays(
    folder: Path, features: EmoLlamaEncodings, count: int, is_new: bool
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
    part: str,
    model: EmoLlamaForConditionalGeneration,
    processor: EmoLlamaProcessor,
    images: list[Any],
) -> EmoLlamaEncodings:
    """What one frozen encoder tells of some pictures."""
    inputs = processor.image_processor(images, return_tensors="pt")
    inputs.to(next(getattr(model.model, part).parameters()).device)
    return model.encode(**{name: inputs[name] for name in INPUTS[part]})


def _bits(tensor: torch.Tensor) -> np.ndarray:
    """As an array; numpy has no bfloat16, which is kept as its bits."""
    tensor = tensor.detach().cpu().contiguous()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
