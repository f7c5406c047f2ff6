"""`emo-llama convert faceres` on a small random graph of the same layout."""

import base64
import json

import numpy as np
import pytest
import torch
from graphs import SmallGraph, run_graph
from parts import write_language_model, write_tower
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor

from emo_llama.cli import main
from emo_llama.conversion.faceres import IMAGE_MEAN, portrait_views
from emo_llama.modeling import EmoLlamaImageProcessor

BGR_MEAN = np.array([103.939, 116.779, 123.68])
SMALL = ("image_size=32", "hidden_size=16", "num_attention_heads=2", "mlp_dim=16")


def convert(path, out, *words):
    fields = [word for field in SMALL for word in ("--set", field)]
    words = ["convert", "faceres", "--checkpoint", path, "--out", out, *fields, *words]
    return main([*map(str, words)])


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faceres")
    path = SmallGraph().write(folder)
    assert convert(path, folder / "out", "--set", "image_size=64") == 0
    return path, folder / "out"


def load(folder):
    return AutoModel.from_pretrained(folder, trust_remote_code=True).eval()


@pytest.mark.parametrize("size", [64, 45])
def test_it_answers_as_the_graph(converted, size):
    """Descriptor and every cell of the last map, at an even and an odd number of pixels."""
    path, folder = converted
    pictures = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    processor = EmoLlamaImageProcessor.from_pretrained(folder, face_size=size)
    inputs = processor([Image.fromarray(picture) for picture in pictures], return_tensors="pt")
    with torch.no_grad():
        ours = load(folder).backbone(inputs["face_pixel_values"])
    graph = pictures[..., ::-1] - BGR_MEAN
    pooled = run_graph(path, "global_pooling/Mean", graph)
    cells = run_graph(path, "conv_pw_13_relu/clip_by_value", graph).transpose(0, 3, 1, 2)
    assert pooled.std() > 0.1  # a graph that says nothing would agree with anything
    exact = {"atol": 1e-3, "rtol": 0}
    torch.testing.assert_close(ours.pooler_output, torch.tensor(pooled).float(), **exact)
    torch.testing.assert_close(ours.last_hidden_state, torch.tensor(cells).float(), **exact)


def test_its_norms_know_their_inputs(converted):
    """Normalising by the batch, as training does, says nearly the same as the statistics do."""
    backbone = load(converted[1]).backbone
    views = torch.cat(list(portrait_views(64)))
    with torch.no_grad():
        known = backbone(views).pooler_output
        trained = backbone.train()(views).pooler_output
    assert (known - trained).abs().mean() < 0.02 * known.abs().mean()
    assert backbone.conv_stem.normalization.momentum == 0.1


def test_the_folder_says_what_it_holds(converted):
    model = load(converted[1])
    with torch.no_grad():
        answers = model(torch.zeros(1, 3, 64, 64))
    assert answers.task_tokens.shape == (1, 7, 16)
    assert answers.feature_map.shape == (1, 16, 16, 16)
    assert set(model.config.untrained_heads) >= {"age", "gender", "race", "landmarks"}
    card = (converted[1] / "README.md").read_text()
    assert "VGGFace2 is a research data set" in card and "license: other" in card


def test_in_half_precision(tmp_path):
    assert convert(SmallGraph().write(tmp_path), tmp_path / "out", "--dtype", "bfloat16") == 0
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {t.dtype for t in weights.values() if t.is_floating_point()} == {torch.bfloat16}


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def manifest(content):
    return content["weightsManifest"][0]["weights"]


def node(content, name):
    return next(node for node in content["modelTopology"]["node"] if node["name"] == name)


def renamed(content):
    manifest(content)[0]["name"] = "stem/kernel"


def one_more(content):
    manifest(content)[-1]["shape"] = [3]


def to_bytes(content):
    manifest(content)[3]["quantization"] = {"dtype": "uint8", "scale": 0.1, "min": 0.0}


def to_strings(content):
    manifest(content)[3]["dtype"] = "string"


def negative(content):
    manifest(content)[2]["shape"] = [-1]


def elsewhere(content):
    content["weightsManifest"][0]["paths"] = ["../faceres.bin"]


def lost(content):
    content["weightsManifest"][0]["paths"] = ["other.bin"]


def another_stride(content):
    attributes = node(content, "conv_dw_3/depthwise")["attr"]
    attributes["strides"]["list"]["i"] = ["1", "2", "2", "1"]


def another_padding(content):
    valid = base64.b64encode(b"VALID").decode()
    node(content, "conv_dw_2/depthwise")["attr"]["padding"]["s"] = valid


def another_activation(content):
    node(content, "conv_pw_5_relu/Relu")["op"] = "Elu"


def deeper(content):
    extra = node(content, "conv_dw_3/depthwise") | {"name": "squeeze"}
    content["modelTopology"]["node"].append(extra)


def odd_attributes(content):
    node(content, "conv_dw_3/depthwise")["attr"]["dilations"] = ["1"]


def no_inputs(content):
    node(content, "conv_pw_3_bn/batchnorm_1/mul_1")["input"] = 3


def flat_kernel(content):
    kernel = next(e for e in manifest(content) if e["name"] == "conv_dw_1/depthwise_kernel")
    kernel["shape"] = [72]


def layers_model(content):
    content["modelTopology"] = {"class_name": "Model"}


BAD = [
    (renamed, ["1 of the weights are missing", "conv1/convolution/merged_input"]),
    (one_more, ["faceres.bin", "bytes, found"]),
    (to_bytes, ["conv1_relu/Const_1", "quantized to uint8", "float16"]),
    (to_strings, ["conv1_relu/Const_1", "string", "float32"]),
    (negative, ["conv1_relu/Cast", "[-1]"]),
    (elsewhere, ["'../faceres.bin'", "same folder"]),
    (lost, ["other.bin", "no such file"]),
    (another_stride, ["conv_dw_3", "['1', '2', '2', '1']", "['1', '1', '1', '1']"]),
    (another_padding, ["conv_dw_2", "padding"]),
    (another_activation, ["conv_pw_5", "Elu", "Relu"]),
    (deeper, ["27 convolutions", "found 28"]),
    (odd_attributes, ["conv_dw_3", "dilations None"]),
    (no_inputs, ["conv_pw_3", "strides None"]),
    (flat_kernel, ["conv_dw_1", "sides of a kernel 1; expected 4"]),
    (layers_model, ["graph-model", "weightsManifest"]),
]


@pytest.mark.parametrize(("edit", "words"), BAD, ids=[edit.__name__ for edit, _ in BAD])
def test_what_is_no_such_network_is_refused(edit, words, tmp_path, capsys):
    path = SmallGraph().write(tmp_path)
    change(path, edit)
    assert convert(path, tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert all(word in told for word in words), told
    assert sorted(file.name for file in tmp_path.iterdir()) == ["faceres.bin", "faceres.json"]


def test_a_file_that_was_cut_short_is_refused_with_both_sizes(tmp_path, capsys):
    path = SmallGraph().write(tmp_path)
    binary = path.with_name("faceres.bin")
    content = binary.read_bytes()
    binary.write_bytes(content[:-1000])
    assert convert(path, tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert f"{len(content):,} bytes, found {len(content) - 1000:,}" in told


def test_weights_that_are_not_finite_are_named(tmp_path, capsys):
    graph = SmallGraph()
    graph.values[0][0, 0, 0, 0] = np.inf
    assert convert(graph.write(tmp_path), tmp_path / "out") == 1
    assert "'conv1/convolution/merged_input' holds values" in capsys.readouterr().err


def test_a_wider_layer_is_named_with_both_shapes(tmp_path, capsys):
    graph = SmallGraph()
    place = next(
        i for i, e in enumerate(graph.entries) if e["name"] == "conv_pw_2_bn/batchnorm_1/sub"
    )
    graph.values[place] = np.zeros(24, np.float16)
    graph.entries[place]["shape"] = [24]
    assert convert(graph.write(tmp_path), tmp_path / "out") == 1
    assert "layer.3.normalization.bias [24] in place of [16]" in capsys.readouterr().err


def test_fields_that_do_not_fit_are_named(tmp_path, capsys):
    path = SmallGraph().write(tmp_path)
    assert convert(path, tmp_path / "out", "--set", "widht=3") == 2
    assert "widht" in capsys.readouterr().err
    assert convert(path, tmp_path / "out", "--set", "hidden_size=20") == 2
    assert "hidden_size=20" in capsys.readouterr().err
    assert convert(tmp_path / "none.json", tmp_path / "out") == 1
    assert "no such file" in capsys.readouterr().err


def test_it_becomes_the_face_network_of_a_new_model(converted, tmp_path):
    """`init --face` takes weights and picture settings alike."""
    llm, tower = (
        write_language_model(tmp_path / "llm", "llama"),
        write_tower(tmp_path / "v", "clip"),
    )
    words = ["--llm", llm, "--vision", tower, "--face", converted[1], "--out", tmp_path / "out"]
    words += ["--set", "qformer_config.num_hidden_layers=2", "--set", "num_query_tokens=4"]
    assert main(["init", *map(str, words)]) == 0
    known, found = (
        load_file(folder / "model.safetensors") for folder in (converted[1], tmp_path / "out")
    )
    for name, value in known.items():
        torch.testing.assert_close(found[f"model.face_model.{name}"], value, atol=0, rtol=0)
    images = AutoProcessor.from_pretrained(tmp_path / "out", trust_remote_code=True).image_processor
    assert list(images.face_image_mean) == pytest.approx(list(IMAGE_MEAN))
    assert (images.face_margin, images.do_grayscale_face) == (0.3, False)
    assert "mit-file-of-research-data" in (tmp_path / "out" / "README.md").read_text()
