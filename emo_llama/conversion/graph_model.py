"""TensorFlow.js graph models: a JSON file of nodes and a weight manifest, and their binary files.

Decides what is read as a weight and when a file is refused. Nothing is run.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emo_llama.errors import DataFormatError, InputNotFoundError

__all__ = ["GraphModel", "read_graph_model"]

FORMAT = "graph-model"
DTYPES = {"float32": "<f4", "int32": "<i4", "bool": "|b1"}
"""How weights lie in the binary files, by their `dtype` in the manifest."""
HALF = "float16"
"""The one quantization that keeps numbers as they are."""


@dataclass(frozen=True, slots=True)
class GraphModel:
    """What such a pair of files holds.

    Args:
        nodes (`dict[str, dict]`): The nodes of the graph by name, in the file's order.
        weights (`dict[str, np.ndarray]`): By name; float16 is given as float32.
    """

    nodes: dict[str, dict[str, Any]]
    weights: dict[str, np.ndarray]


def read_graph_model(path: Path) -> GraphModel:
    """Reads a graph model and all of its weights.

    Args:
        path (`Path`): The JSON file; the binary files that its manifest names lie beside it.

    Returns:
        [`GraphModel`]: Nodes and weights.

    Raises:
        InputNotFoundError: The file, or one that the manifest names, is not there.
        DataFormatError: It is no such model, its sizes do not add up, or it is quantized otherwise
            than to float16.
    """
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such file. Name the model's JSON file.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        nodes = {node["name"]: node for node in content["modelTopology"]["node"]}
        groups = [(list(group["paths"]), group["weights"]) for group in content["weightsManifest"]]
        weights: dict[str, np.ndarray] = {}
        for names, entries in groups:
            weights |= _read_weights(path, names, entries)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DataFormatError):
            raise
        raise DataFormatError(
            f"{path}: expected a TensorFlow.js {FORMAT} with modelTopology.node and "
            f"weightsManifest ({error!r}). Name the model's JSON file."
        ) from error
    return GraphModel(nodes, weights)


def _read_weights(
    path: Path, names: list[str], entries: list[dict[str, Any]]
) -> dict[str, np.ndarray]:
    """The weights of one group, which lie one behind the other in its files."""
    types = [_dtype(path, entry) for entry in entries]
    counts = [_count(path, entry) for entry in entries]
    wanted = sum(count * kind.itemsize for count, kind in zip(counts, types, strict=True))
    content = b"".join(_binary(path, name) for name in names)
    if len(content) != wanted:
        raise DataFormatError(
            f"{', '.join(names)}: the manifest in {path.name} lists {len(entries)} weights of "
            f"{wanted:,} bytes, found {len(content):,} bytes. Fetch both files again."
        )
    weights, offset = {}, 0
    for entry, kind, count in zip(entries, types, counts, strict=True):
        values = np.frombuffer(content, kind, count, offset).reshape(entry["shape"])
        if not np.isfinite(values).all():
            raise DataFormatError(
                f"{path}: weight {entry['name']!r} holds values that are not finite. Fetch both "
                "files again."
            )
        weights[entry["name"]] = values.astype(np.float32) if kind.kind == "f" else values
        offset += count * kind.itemsize
    return weights


def _dtype(path: Path, entry: dict[str, Any]) -> np.dtype:
    """How one weight is stored."""
    kind = entry["dtype"]
    quantized = (entry.get("quantization") or {}).get("dtype")
    if kind not in DTYPES or quantized not in (None, HALF):
        found = f"{kind} quantized to {quantized}" if kind in DTYPES else kind
        raise DataFormatError(
            f"{path}: weight {entry['name']!r} is {found}; expected {', '.join(DTYPES)}, plain or "
            f"as {HALF}. Fetch a model that is not quantized further."
        )
    return np.dtype("<f2" if quantized else DTYPES[kind])


def _count(path: Path, entry: dict[str, Any]) -> int:
    """How many numbers one weight has."""
    shape = entry["shape"]
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise DataFormatError(
            f"{path}: weight {entry['name']!r} has the shape {shape}; expected whole numbers. "
            "Fetch the file again."
        )
    return math.prod(shape)


def _binary(path: Path, name: str) -> bytes:
    """The bytes of a file beside the model."""
    if Path(name).name != name:  # a manifest must not reach into other folders
        raise DataFormatError(
            f"{path}: the manifest names {name!r}; expected a file of the same folder."
        )
    binary = path.with_name(name)
    if not binary.is_file():
        raise InputNotFoundError(
            f"{binary}: no such file, but {path.name} names it. Put it into the same folder."
        )
    return binary.read_bytes()
