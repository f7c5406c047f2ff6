"""HSE-FaceRes, a face network that was trained on VGGFace2, in the format of this project.

Decides which weight of the TensorFlow.js graph goes where in transformers' MobileNet v1, and what
must hold of the graph for that. Its own heads (age, gender) are left out; those of
[`FaceXFormerModel`] are fresh.
"""

import random
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance
from transformers import MobileNetV1Config, MobileNetV1Model

from emo_llama.conversion.checkpoints import Tensors, compare_shapes, shapes_of, some
from emo_llama.conversion.face_part import FRESH, face_network
from emo_llama.conversion.facexformer import changed_face_config, write_face_model
from emo_llama.conversion.graph_model import GraphModel, read_graph_model
from emo_llama.errors import DataFormatError
from emo_llama.modeling import EmoLlamaImageProcessor, FaceXFormerModel
from emo_llama.norms import restate_norms

__all__ = ["IMAGE_MEAN", "IMAGE_STD", "convert_faceres", "convert_faceres_graph"]

BLOCKS = 13
WIDEST = 1024
"""Channels of the last block at width 1."""
CAP = 6.0
"""Of the activation (ReLU6)."""
IMAGE_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
"""Red, green, blue: what the network subtracts. Its zero padding is this colour, so that another
mean would change the borders."""
IMAGE_STD = (0.25, 0.25, 0.25)
"""Ours, taken into the first kernel: the network divides by nothing."""
MARGIN = 0.3
"""By which VGGFace2's boxes were grown."""

_CARD = """---
library_name: transformers
license: other
license_name: mit-file-of-research-data
tags:
- custom_code
---

# HSE-FaceRes

A MobileNet v1 that knows faces, converted by `emo-llama convert faceres` from the TensorFlow.js
files of the package human-models (MIT); `AutoModel.from_pretrained(folder,
trust_remote_code=True)` loads it. Its backbone alone is trained: every head is fresh. Input: a face
crop in colour, its mean colour subtracted, as `preprocessor_config.json` says.

## Origin and licence

The network is A. Savchenko's HSE-FaceRes, trained on the identities of VGGFace2, then on age and
gender. That is public knowledge about it, not a statement of the package. The package's MIT licence
covers the file (Copyright (c) Vladimir Mandic); its author's repository shows no licence of its
own, and VGGFace2 is a research data set. Weights that begin from it are for research.
"""


def convert_faceres(
    checkpoint: Path, out: Path, dtype: torch.dtype | None = None, **changes: Any
) -> Path:
    """Writes the network as a folder that `AutoModel` loads.

    Batch norms get the statistics of a few hundred views of the bundled portrait, and the gain and
    bias that leave the function as it was, so that the network can be trained on.

    Args:
        checkpoint (`Path`): `faceres.json`; `faceres.bin` lies beside it.
        out (`Path`): The folder to write; it must not exist, or be empty.
        dtype (`torch.dtype`, *optional*): Of the weights; float32 by default.
        changes (`dict`, *optional*): Fields of [`FaceXFormerConfig`], as `image_size`.

    Returns:
        `Path`: The folder.

    Raises:
        InputNotFoundError: A file is not there.
        DataFormatError: It is another network, cut short, or quantized otherwise.
        UsageError: `out` holds something already, or a change names no field.
    """
    graph = read_graph_model(checkpoint)
    backbone, tensors = convert_faceres_graph(graph, checkpoint)
    config = changed_face_config({"backbone_config": backbone} | FRESH, changes)
    with torch.device("meta"):
        wanted = FaceXFormerModel(config).backbone.state_dict()
    compare_shapes(checkpoint, shapes_of(tensors), shapes_of(wanted))
    model = face_network(config, tensors)
    restate_norms(model.backbone, portrait_views(config.image_size))
    image_processor = EmoLlamaImageProcessor(
        face_size=config.image_size,
        face_image_mean=list(IMAGE_MEAN),
        face_image_std=list(IMAGE_STD),
        face_margin=MARGIN,
    )
    return write_face_model(out, config, model.state_dict(), _CARD, dtype, image_processor)


def convert_faceres_graph(graph: GraphModel, source: Path) -> tuple[MobileNetV1Config, Tensors]:
    """The weights by the names of transformers' [`MobileNetV1Model`].

    Args:
        graph ([`GraphModel`]): What was read.
        source (`Path`): Where from, for messages.

    Returns:
        `tuple[MobileNetV1Config, dict[str, torch.Tensor]]`:
            The configuration that the shapes tell, and the weights, for RGB pixels normalised by
            [`IMAGE_MEAN`] and [`IMAGE_STD`].

    Raises:
        DataFormatError: It is another network.
    """
    layers = [("conv_stem", "conv1", "convolution/merged_input")]
    for block in range(BLOCKS):
        layers.append((f"layer.{2 * block}", f"conv_dw_{block + 1}", "depthwise_kernel"))
        layers.append(
            (f"layer.{2 * block + 1}", f"conv_pw_{block + 1}", "convolution/merged_input")
        )
    _check_names(graph, source, layers)
    last = graph.weights[f"conv_pw_{BLOCKS}/convolution/merged_input"]
    config = MobileNetV1Config(depth_multiplier=last.shape[-1] / WIDEST)
    with torch.device("meta"):
        model = MobileNetV1Model(config)
    tensors: Tensors = {}
    for ours, theirs, kernel in layers:
        _check_layer(graph, source, f"{theirs}/{kernel}", theirs, model.get_submodule(ours))
        tensors |= _layer(graph.weights, ours, theirs, kernel, config.layer_norm_eps)
    compare_shapes(source, shapes_of(tensors), shapes_of(model.state_dict()))
    return config, tensors


def _check_names(graph: GraphModel, source: Path, layers: list[tuple[str, str, str]]) -> None:
    """Every kernel, scale, shift and bound must be there, and no convolution beside them."""
    names = [f"{theirs}/{kernel}" for _, theirs, kernel in layers]
    names += [f"{theirs}_bn/batchnorm_1/sub" for _, theirs, _ in layers]
    names += [f"{theirs}_bn/batchnorm_1/mul" for _, theirs, _ in layers if "_dw_" in theirs]
    names += [f"{theirs}_relu/{bound}" for _, theirs, _ in layers for bound in ("Cast", "Const_1")]
    missing = [name for name in names if name not in graph.weights]
    found = sum(node.get("op") in CONVOLUTIONS for node in graph.nodes.values())
    if missing or found != len(layers):
        raise DataFormatError(
            f"{source}: expected HSE-FaceRes, a MobileNet v1 of {len(layers)} convolutions and "
            f"{len(names)} weights; found {found} convolutions, and {len(missing)} of the weights "
            f"are missing{': ' if missing else ''}{some(missing, 3)}. Name faceres.json."
        )


CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")


def _check_layer(graph: GraphModel, source: Path, kernel: str, name: str, layer: Any) -> None:
    """Kernel, stride, padding and activation must be those of transformers' layer."""
    nodes = [node for node in graph.nodes.values() if kernel in _inputs(node)]
    attributes = _read(nodes[0], "attr") if nodes else None
    stride = layer.convolution.stride[0]
    wanted = {
        "sides of a kernel": 4,
        "strides": ["1", str(stride), str(stride), "1"],
        "dilations": ["1", "1", "1", "1"],
        "padding": _SAME,
        "activation": ["Relu", [0.0], [CAP]],
    }
    bounds = [graph.weights[f"{name}_relu/{key}"] for key in ("Const_1", "Cast")]
    found = {
        "sides of a kernel": graph.weights[kernel].ndim,
        "strides": _read(attributes, "strides", "list", "i"),
        "dilations": _read(attributes, "dilations", "list", "i"),
        "padding": _read(attributes, "padding", "s"),
        "activation": [
            _read(graph.nodes, f"{name}_relu/Relu", "op"),
            *(bound.reshape(-1).tolist() for bound in bounds),
        ],
    }
    for key, value in wanted.items():
        if found[key] != value:
            raise DataFormatError(
                f"{source}: {name} has {key} {found[key]}; expected {value}, as HSE-FaceRes has. "
                "Name faceres.json."
            )


def _inputs(node: dict[str, Any]) -> list[Any]:
    """Names of what a node takes."""
    names = node.get("input")
    return names if isinstance(names, list) else []


def _read(value: Any, *keys: str) -> Any:
    """What lies under some keys of nested objects; `None` where one is missing or is no object."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


_SAME = "U0FNRQ=="  # base64 of SAME, as the file writes it


def _layer(
    weights: dict[str, np.ndarray], ours: str, theirs: str, kernel: str, eps: float
) -> Tensors:
    """One convolution with its normalization, as a batch norm of mean 0 and variance 1."""
    values = torch.tensor(weights[f"{theirs}/{kernel}"])
    if "_dw_" in theirs:  # (k, k, C, 1) -> (C, 1, k, k)
        values = values.permute(2, 3, 0, 1)
    else:  # (k, k, I, O) -> (O, I, k, k)
        values = values.permute(3, 2, 0, 1)
    if theirs == "conv1":  # it was trained on blue, green, red from 0 to 255
        values = values.flip(1) * (255 * IMAGE_STD[0])
    shift = torch.tensor(weights[f"{theirs}_bn/batchnorm_1/sub"])
    scale = weights.get(f"{theirs}_bn/batchnorm_1/mul")  # elsewhere it is in the kernel
    gain = torch.ones_like(shift) if scale is None else torch.tensor(scale)
    norm = f"{ours}.normalization"
    return {
        f"{ours}.convolution.weight": values.contiguous(),
        f"{norm}.weight": gain * (1 + eps) ** 0.5,
        f"{norm}.bias": shift,
        f"{norm}.running_mean": torch.zeros_like(shift),
        f"{norm}.running_var": torch.ones_like(shift),
        f"{norm}.num_batches_tracked": torch.tensor(0),
    }


FACE = (174, 73, 278, 176)
"""Of the bundled portrait, in pixels."""


def portrait_views(size: int, batches: int = 8, batch_size: int = 32) -> Iterator[torch.Tensor]:
    """Crops of the bundled portrait's face: moved, scaled, mirrored, lit otherwise, half in grey.

    Args:
        size (`int`): Side of the crops, in pixels.
        batches (`int`, *optional*, defaults to 8): How many batches.
        batch_size (`int`, *optional*, defaults to 32): Crops in each.

    Yields:
        `torch.Tensor` of shape `(batch_size, 3, size, size)`: Normalised; always the same.
    """
    chance = random.Random(0)
    with Image.open(str(files("emo_llama").joinpath("assets", "portrait.jpg"))) as file:
        portrait = file.convert("RGB")
    mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
    for _ in range(batches):
        views = [np.asarray(_view(portrait, size, chance)) for _ in range(batch_size)]
        pixels = torch.tensor(np.stack(views)) / 255  # (B, S, S, 3)
        yield ((pixels - mean) / std).permute(0, 3, 1, 2).contiguous()


def _view(portrait: Image.Image, size: int, chance: random.Random) -> Image.Image:
    left, top, right, bottom = FACE
    half = (right - left) / 2 * chance.uniform(0.9, 1.7)
    x = (left + right) / 2 + half * chance.uniform(-0.15, 0.15)
    y = (top + bottom) / 2 + half * chance.uniform(-0.15, 0.15)
    box = (x - half, y - half, x + half, y + half)
    view = portrait.resize((size, size), Image.Resampling.BICUBIC, box=box)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast):
        view = enhance(view).enhance(chance.uniform(0.6, 1.4))
    if chance.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return view.convert("L").convert("RGB") if chance.random() < 0.5 else view
