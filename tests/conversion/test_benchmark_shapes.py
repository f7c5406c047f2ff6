"""The full-size checkpoints of the benchmark have the reference's keys and shapes."""

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emo_llama.modeling import FaceXFormerConfig, FaceXFormerModel

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "fixtures" / "golden"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("convert", ROOT / "benchmarks" / "convert.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shapes(file):
    return {name: tuple(tensor.shape) for name, tensor in load_file(GOLDEN / file).items()}


def test_facexformer(benchmark):
    sizes = {"embed": 8, "depths": (2, 2, 2, 2), "heads": (1, 2, 4, 8), "width": 32, "mlp": 64}
    assert benchmark.facexformer_shapes(**sizes) == shapes("facexformer_tiny_weights.safetensors")
    full = benchmark.facexformer_shapes()
    assert len(full) == 505
    with torch.device("meta"):
        count = FaceXFormerModel(FaceXFormerConfig()).num_parameters()
    assert count == 91_985_943


def test_llama_vid(benchmark):
    found = (
        benchmark.llama_shapes(hidden=48, mlp=64, layers=2, words=64, heads=4)
        | benchmark.bridge_shapes(width=24, image_width=32, hidden=48, queries=8)
        | benchmark.bert_shapes(24, 40, 4, 24, 32, 32)
        | benchmark.eva_shapes(width=32, mlp=139, depth=3, patches=17)
    )
    assert found == shapes("llamavid_tiny_weights.safetensors")


def test_published_sizes(benchmark):
    count = lambda table: sum(torch.Size(shape).numel() for shape in table.values())  # noqa: E731
    tower = benchmark.eva_shapes()
    assert count(tower) == 985_894_528
    former = benchmark.bert_shapes()
    assert count(former) - 512 == 185_660_160  # without position_ids
