"""Reads checkpoints shard by shard and writes safetensors, so that memory stays near one shard.

Only formats that run no code are read: safetensors, and pickles through `weights_only`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from emo_llama.errors import DataFormatError, InputNotFoundError

__all__ = [
    "ShardWriter",
    "Shapes",
    "Tensors",
    "compare_shapes",
    "read_shard",
    "read_shards",
    "shapes_of",
    "shard_files",
    "some",
]

Tensors = dict[str, torch.Tensor]
Shapes = dict[str, list[int]]

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLES = ("model.safetensors", "pytorch_model.bin")
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Types by the names that safetensors has for them."""


def shard_files(folder: Path) -> list[Path]:
    """The weight files of a checkpoint.

    Args:
        folder (`Path`): With `model*.safetensors` or `pytorch_model*.bin`, whole or sharded.

    Returns:
        `list[Path]`: In the order of their names; safetensors where both are there.

    Raises:
        InputNotFoundError: There is no folder, no weight file in it, or a shard is missing.
        DataFormatError: The index is damaged.
    """
    if not folder.is_dir():
        raise InputNotFoundError(f"{folder}: no such folder. Name the folder of the checkpoint.")
    for index, single in zip(INDEXES, SINGLES, strict=True):
        if (folder / index).is_file():
            try:
                names = json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"]
                files = sorted({folder / name for name in names.values()})
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataFormatError(
                    f"{folder / index}: expected an index with weight_map ({error}). Fetch the "
                    "checkpoint again."
                ) from error
            for path in files:
                if path.parent != folder:
                    raise DataFormatError(
                        f"{folder / index}: names {str(path)!r}; expected files of this folder."
                    )
            missing = [path.name for path in files if not path.is_file()]
            if missing:
                raise InputNotFoundError(
                    f"{folder}: the index names {', '.join(missing)}, which are not there. Fetch "
                    "the checkpoint again."
                )
            return files
        if (folder / single).is_file():
            return [folder / single]
    raise InputNotFoundError(
        f"{folder}: expected {' or '.join(SINGLES)}, or shards with their index; found neither. "
        "Name the folder of the checkpoint."
    )


def read_shard(path: Path, only_shapes: bool = False) -> Any:
    """What one weight file holds; from a pickle tensors stay on disk until they are used.

    Args:
        path (`Path`): A `.safetensors` file, or a pickle of tensors.
        only_shapes (`bool`, *optional*, defaults to `False`):
            Tensors of a `.safetensors` file on the device meta: their numbers are not read.

    Returns:
        `Any`: Usually tensors by key.

    Raises:
        InputNotFoundError: There is no such file.
        DataFormatError: It is damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such file. Name the file of the checkpoint.")
    try:
        if path.suffix == ".safetensors":
            return _shapes_in(path) if only_shapes else load_file(path)
        return _load_pickle(path)
    except Exception as error:  # a damaged or hostile file can raise anything
        raise DataFormatError(
            f"{path}: cannot be read ({_reason(error)}). Fetch it again. A file that holds more "
            "than tensors is never read, since it could run code: ask for safetensors."
        ) from error


def _reason(error: Exception) -> str:
    """Why a file cannot be read, in one line and without advice to read it unguarded."""
    lines = str(error).splitlines()
    # The unpickler raises what its bytes ask for, and torch answers with the switch that runs them.
    if isinstance(error, (OSError, RuntimeError, SafetensorError)) and lines:
        if "weights_only" not in lines[0]:
            return lines[0]
    return "it holds no tensors, more than tensors, or is damaged"


def _shapes_in(path: Path) -> Tensors:
    """The tensors of a safetensors file without their numbers."""
    found = {}
    with safe_open(path, framework="pt") as tensors:
        for name in tensors.keys():  # noqa: SIM118 - the handle is no dict
            part = tensors.get_slice(name)
            kind = DTYPES[part.get_dtype()]
            found[name] = torch.empty(part.get_shape(), dtype=kind, device="meta")
    return found


def _load_pickle(path: Path) -> Any:
    """By memory map where the file allows it: those of before PyTorch 1.6 do not."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
    return torch.load(path, map_location="cpu", weights_only=True)


def read_shards(files: list[Path], only_shapes: bool = False) -> Iterator[Tensors]:
    """The tensors of each file in turn; only one file's are held.

    Args:
        files (`list[Path]`): Weight files.
        only_shapes (`bool`, *optional*, defaults to `False`): As in [`read_shard`].

    Yields:
        `dict[str, torch.Tensor]`: Tensors by key.

    Raises:
        DataFormatError: A file is damaged or holds no tensors.
    """
    for path in files:
        shard = read_shard(path, only_shapes)
        if isinstance(shard, dict) and isinstance(shard.get("model"), dict):
            shard = shard["model"]
        if not isinstance(shard, dict) or not all(
            isinstance(value, torch.Tensor) for value in shard.values()
        ):
            raise DataFormatError(f"{path}: expected tensors by key. Name the right file.")
        yield shard


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> Shapes:
    """The shapes of tensors.

    Args:
        tensors (`Mapping[str, torch.Tensor]`): By name.

    Returns:
        `dict[str, list[int]]`: By name.
    """
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


def compare_shapes(source: Path, found: Shapes, wanted: Shapes) -> None:
    """Stops where tensors are missing, left over, or of another shape.

    Args:
        source (`Path`): What was read, for the message.
        found (`dict[str, list[int]]`): Shapes of what was read, by the model's names.
        wanted (`dict[str, list[int]]`): The model's.

    Raises:
        DataFormatError: The message names the keys.
    """
    lists = {
        "missing": sorted(set(wanted) - set(found)),
        "without a place": sorted(set(found) - set(wanted)),
        "of another shape": [
            f"{name} {found[name]} in place of {wanted[name]}"
            for name in sorted(set(wanted) & set(found))
            if found[name] != wanted[name]
        ],
    }
    said = [f"{len(names)} {what}: {some(names)}" for what, names in lists.items() if names]
    if said:
        raise DataFormatError(
            f"{source}: the weights do not fit: {'; '.join(said)}. Name the complete checkpoint."
        )


def some(names: Sequence[str], shown: int = 8) -> str:
    """The first of many names.

    Args:
        names (`Sequence[str]`): Names.
        shown (`int`, *optional*, defaults to 8): How many are told.

    Returns:
        `str`: With commas, and how many more there are.
    """
    rest = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest


class ShardWriter:
    """Writes tensors as the safetensors shards of a model folder.

    Args:
        folder (`Path`): The folder.
        dtype (`torch.dtype`, *optional*): What floating tensors are turned into.
    """

    def __init__(self, folder: Path, dtype: torch.dtype | None = None) -> None:
        self.folder, self.dtype = folder, dtype
        self.parts: list[dict[str, list[int]]] = []
        self.size = 0

    def write(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Writes one shard.

        Args:
            tensors (`Mapping[str, torch.Tensor]`): By their names in the model; may be empty.
        """
        if not tensors:
            return
        shard = {}
        for name, tensor in tensors.items():
            target = self.dtype if self.dtype and tensor.is_floating_point() else tensor.dtype
            shard[name] = tensor.detach().to(target).clone(memory_format=torch.contiguous_format)
        save_file(shard, self.folder / self._name(len(self.parts)), metadata={"format": "pt"})
        self.parts.append({name: list(tensor.shape) for name, tensor in shard.items()})
        self.size += sum(tensor.numel() * tensor.element_size() for tensor in shard.values())

    def shapes(self) -> dict[str, list[int]]:
        """`dict[str, list[int]]`: The shape of all that was written, by name."""
        return {name: shape for part in self.parts for name, shape in part.items()}

    def finish(self) -> None:
        """Gives the shards their final names, and writes the index."""
        count = len(self.parts)
        if count == 1:
            (self.folder / self._name(0)).replace(self.folder / SINGLES[0])
            return
        places: dict[str, str] = {}
        for number, part in enumerate(self.parts):
            name = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
            (self.folder / self._name(number)).replace(self.folder / name)
            places |= dict.fromkeys(part, name)
        index = {"metadata": {"total_size": self.size}, "weight_map": places}
        (self.folder / INDEXES[0]).write_text(json.dumps(index, indent=2), encoding="utf-8")

    @staticmethod
    def _name(number: int) -> str:
        return f"part-{number:05d}.safetensors"
