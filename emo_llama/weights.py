"""The weights of a model folder that nobody has vetted: which files they are, and what they hold.

Decides that weights are plain safetensors inside their folder, finite, and of the sizes that the
configuration asks for. All but the values is told from the headers, before memory is taken.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from emo_llama.errors import ModelNotFoundError
from emo_llama.vetting import check_inside, read_json

__all__ = [
    "INDEX",
    "SINGLE",
    "check_sizes",
    "check_values",
    "num_parameters",
    "tensor_shapes",
    "weight_files",
]

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

_NOT_LEARNED = ("running_mean", "running_var", "num_batches_tracked", "gaussian_matrix")
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


def weight_files(folder: Path) -> list[Path]:
    """The weights of a model, in one file or in those that an index names.

    Args:
        folder (`Path`):
            The folder.

    Returns:
        `list[Path]`: Sorted by name, all inside the folder.

    Raises:
        ModelNotFoundError: There are none, the index is no index, or it names something else than
            `.safetensors` files of this folder.
    """
    names = [SINGLE]
    if (folder / INDEX).is_file():
        places = read_json(folder / INDEX).get("weight_map")
        if not isinstance(places, dict) or not places:
            raise ModelNotFoundError(
                f"{folder / INDEX}: expected a weight_map from tensors to files. Save the model "
                "again."
            )
        names = sorted({str(name) for name in places.values()})
    for name in names:
        if not re.fullmatch(r"[\w][\w.-]*\.safetensors", name):
            raise ModelNotFoundError(
                f"{folder / INDEX}: expected plain names that end in .safetensors, got {name!r}. "
                "Weights lie in the model's own folder; other formats can run code."
            )
        if not (folder / name).is_file():
            raise ModelNotFoundError(
                f"The weights {str(folder / name)!r} are missing. Only safetensors are taken; save "
                "the model with model.save_pretrained(folder)."
            )
        check_inside(folder, folder / name)
    single = folder / SINGLE  # which transformers prefers
    return [single] if single.is_file() else [folder / name for name in names]


def tensor_shapes(files: list[Path]) -> dict[str, tuple[int, ...]]:
    """Read names and shapes off the headers of weight files.

    Args:
        files (`list[Path]`):
            Safetensors files.

    Returns:
        `dict[str, tuple[int, ...]]`: Shapes by name.

    Raises:
        ModelNotFoundError: A file is damaged.
    """
    shapes = {}
    for _, name, tensors in _tensors(files):
        shapes[name] = tuple(tensors.get_slice(name).get_shape())
    return shapes


def num_parameters(shapes: dict[str, tuple[int, ...]]) -> int:
    """How many numbers can be learned: not what batch normalization counts, and what stays random.

    Args:
        shapes (`dict[str, tuple[int, ...]]`):
            As [`tensor_shapes`] gives them.

    Returns:
        `int`: As `model.num_parameters()` counts.

    Example:
    ```python
    >>> from emo_llama.weights import num_parameters

    >>> num_parameters({"norm.weight": (8,), "norm.running_mean": (8,)})
    8

    ```
    """
    return sum(
        math.prod(shape) for name, shape in shapes.items() if not name.endswith(_NOT_LEARNED)
    )


def check_sizes(model: nn.Module, shapes: dict[str, tuple[int, ...]], folder: Path) -> None:
    """Make sure that a model is not larger than the weights that lie beside its configuration.

    Args:
        model (`nn.Module`):
            The model on the meta device, which takes no memory.
        shapes (`dict[str, tuple[int, ...]]`):
            Of the weights, by name.
        folder (`Path`):
            For the message.

    Raises:
        ModelNotFoundError: It is, or a tensor has another shape.
    """
    parameters = dict(model.named_parameters())  # tied ones once
    for name in sorted(parameters.keys() & shapes.keys()):
        if tuple(parameters[name].shape) != shapes[name]:
            raise ModelNotFoundError(
                f"{folder}: config.json asks for {name} of shape {tuple(parameters[name].shape)}, "
                f"the weights hold {shapes[name]}. One of the two belongs to another model."
            )
    wanted = sum(tensor.numel() for tensor in (*parameters.values(), *model.buffers()))
    stored = sum(math.prod(shape) for shape in shapes.values())
    if wanted > 2 * stored + 10_000_000:  # the names of missing tensors are told later
        raise ModelNotFoundError(
            f"{folder}: config.json asks for {wanted:,} numbers, the weights hold {stored:,}. One "
            "of the two belongs to another model."
        )


def check_values(model: nn.Module, files: list[Path]) -> None:
    """Make sure that weights are finite floating-point numbers.

    Args:
        model (`nn.Module`):
            The model on the meta device: counters of it may be integers.
        files (`list[Path]`):
            Safetensors files.

    Raises:
        ModelNotFoundError: A tensor is of integers, or holds NaN or infinity; it is named.
    """
    state = model.state_dict()
    counters = {name for name, tensor in state.items() if not tensor.is_floating_point()}
    for path, name, tensors in _tensors(files):
        tensor = tensors.get_tensor(name)
        if tensor.dtype in _INTEGERS and name not in counters:
            raise ModelNotFoundError(
                f"{path}: expected floating-point weights, but {name} is of {tensor.dtype}. Save "
                "the model before it is quantized."
            )
        if not torch.isfinite(tensor.float()).all():
            raise ModelNotFoundError(
                f"{path}: {name} holds NaN or infinite weights. Training went wrong, or the file "
                "is damaged; use another checkpoint."
            )


def _tensors(files: list[Path]) -> Iterator[tuple[Path, str, Any]]:
    """Each file, each name in it, and the handle."""
    for path in files:
        try:
            with safe_open(path, framework="pt") as tensors:
                for name in sorted(tensors.keys()):
                    yield path, name, tensors
        except (SafetensorError, OSError) as error:
            raise ModelNotFoundError(
                f"The weights {str(path)!r} are damaged ({error}). Copy or save them again."
            ) from error
