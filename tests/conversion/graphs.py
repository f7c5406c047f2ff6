"""TensorFlow.js graph models for tests: a reader that runs them in numpy, and a small random one.

The reader shares nothing with the converter: it walks the graph node by node, in the layout
(height, width, channels) and by the padding rule of TensorFlow's documentation.
"""

import base64
import json
import math

import numpy as np

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
SAME = base64.b64encode(b"SAME").decode()


def run_graph(path, output, pixels):
    """The value of one node for a batch (B, H, W, 3) of blue, green, red, in double precision."""
    content = json.loads(path.read_text())
    nodes = {node["name"]: node for node in content["modelTopology"]["node"]}
    known = weights_of(path, content["weightsManifest"])
    known[next(name for name, node in nodes.items() if node["op"] == "Placeholder")] = pixels

    def value(name):
        if name not in known:
            node = nodes[name]
            known[name] = OPERATIONS[node["op"]](node, *map(value, node["input"]))
        return known[name]

    return value(output)


def weights_of(path, manifest):
    weights = {}
    for group in manifest:
        content = b"".join((path.parent / name).read_bytes() for name in group["paths"])
        for entry in group["weights"]:
            count = math.prod(entry["shape"])
            kind = np.dtype(entry.get("quantization", entry)["dtype"])
            values = np.frombuffer(content[: count * kind.itemsize], kind)
            content = content[count * kind.itemsize :]
            exact = values.astype(np.float64) if kind.kind == "f" else values
            weights[entry["name"]] = exact.reshape(entry["shape"])
    return weights


def windows(node, states, kernel):
    """For each place of the kernel, the cells that it meets: (k, k, B, out, out, C)."""
    step = int(node["attr"]["strides"]["list"]["i"][1])
    padding = base64.b64decode(node["attr"]["padding"]["s"])
    assert padding == b"SAME"
    pads, sizes = [], []
    for size, side in zip(states.shape[1:3], kernel.shape[:2], strict=True):
        sizes.append(math.ceil(size / step))
        total = max((sizes[-1] - 1) * step + side - size, 0)
        pads.append((total // 2, total - total // 2))
    padded = np.pad(states, [(0, 0), *pads, (0, 0)])
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            rows = slice(row, row + (sizes[0] - 1) * step + 1, step)
            columns = slice(column, column + (sizes[1] - 1) * step + 1, step)
            yield kernel[row, column], padded[:, rows, columns]


OPERATIONS = {
    "Conv2D": lambda node, x, k: sum(cells @ part for part, cells in windows(node, x, k)),
    "DepthwiseConv2dNative": lambda node, x, k: sum(
        cells * part[:, 0] for part, cells in windows(node, x, k)
    ),
    "Mul": lambda node, x, y: x * y,
    "Add": lambda node, x, y: x + y,
    "Relu": lambda node, x: np.maximum(x, 0),
    "Minimum": lambda node, x, y: np.minimum(x, y),
    "Maximum": lambda node, x, y: np.maximum(x, y),
    "Mean": lambda node, x, axes: x.mean(tuple(axes)),
}


class SmallGraph:
    """A random graph in HSE-FaceRes' layout, an eighth as wide; what it holds can be damaged."""

    def __init__(self, seed=0):
        self.chance = np.random.default_rng(seed)
        self.nodes, self.entries, self.values = [], [], []
        self.last = self.node("input_1", "Placeholder")
        channels = 8
        self.convolution("conv1", "Conv2D", "convolution/merged_input", (3, 3, 3, channels), 2)
        for block, stride in enumerate(STRIDES, 1):
            kernel = (3, 3, channels, 1)
            name = f"conv_dw_{block}"
            self.convolution(name, "DepthwiseConv2dNative", "depthwise_kernel", kernel, stride)
            width = {1: 8, 2: 16, 4: 32, 6: 64, 12: 128}.get(block, channels)
            kernel, channels = (1, 1, channels, width), width
            self.convolution(f"conv_pw_{block}", "Conv2D", "convolution/merged_input", kernel, 1)
        axes = self.weight("global_pooling/Mean/reduction_indices", np.array([1, 2], np.int32))
        self.node("global_pooling/Mean", "Mean", self.last, axes)

    def convolution(self, name, op, kernel, shape, stride):
        scale = (2 / math.prod(shape[:3] if op == "Conv2D" else shape[:2])) ** 0.5
        if name == "conv1":
            scale /= 64  # pixels from 0 to 255
        weight = self.weight(f"{name}/{kernel}", self.chance.normal(0, scale, shape))
        attributes = {
            "strides": {"list": {"i": ["1", str(stride), str(stride), "1"]}},
            "dilations": {"list": {"i": ["1", "1", "1", "1"]}},
            "padding": {"s": SAME},
        }
        norm = f"{name}_bn/batchnorm_1"
        if op == "Conv2D":
            self.node(f"{norm}/mul_1", op, self.last, weight, **attributes)
        else:
            self.node(f"{name}/depthwise", op, self.last, weight, **attributes)
            gain = self.weight(f"{norm}/mul", self.chance.uniform(0.5, 1.5, shape[2]))
            self.node(f"{norm}/mul_1", "Mul", self.last, gain)
        width = shape[3] if op == "Conv2D" else shape[2]
        shift = self.weight(f"{norm}/sub", self.chance.normal(0.5, 0.5, width))
        self.node(f"{norm}/add_1", "Add", self.last, shift)
        self.node(f"{name}_relu/Relu", "Relu", self.last)
        cap = self.weight(f"{name}_relu/Cast", np.array(6.0))
        self.node(f"{name}_relu/clip_by_value/Minimum", "Minimum", self.last, cap)
        floor = self.weight(f"{name}_relu/Const_1", np.array(0.0))
        self.node(f"{name}_relu/clip_by_value", "Maximum", self.last, floor)

    def node(self, name, op, *inputs, **attributes):
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": attributes})
        self.last = name
        return name

    def weight(self, name, values):
        entry = {"name": name, "shape": list(values.shape), "dtype": "float32"}
        if values.dtype.kind == "f":
            values = values.astype(np.float16)
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        else:
            entry["dtype"] = "int32"
        self.entries.append(entry)
        self.values.append(values)
        return name

    def write(self, folder):
        path = folder / "faceres.json"
        group = {"paths": ["faceres.bin"], "weights": self.entries}
        content = {"modelTopology": {"node": self.nodes}, "weightsManifest": [group]}
        path.write_text(json.dumps({"format": "graph-model"} | content))
        content = b"".join(values.tobytes() for values in self.values)
        path.with_name("faceres.bin").write_bytes(content)
        return path
