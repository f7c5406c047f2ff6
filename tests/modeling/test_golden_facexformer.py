"""Parity with the original FaceXFormer modules; see tests/fixtures/golden/README.md."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emo_llama.conversion.facexformer import convert_facexformer_state_dict
from emo_llama.modeling import FaceXFormerConfig, FaceXFormerModel
from emo_llama.testing import tiny_face_config

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
TOLERANCE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module")
def answers():
    """Our answers, the backbone's maps among them, and the reference's, by its names."""
    backbone = {
        "model_type": "swin",
        "image_size": 224,
        "embed_dim": 8,
        "depths": [2, 2, 2, 2],
        "num_heads": [1, 2, 4, 8],
        "window_size": 7,
        "drop_path_rate": 0.0,
    }
    config = FaceXFormerConfig(
        backbone_config=backbone, hidden_size=32, num_attention_heads=4, mlp_dim=64
    )
    model = FaceXFormerModel(config).eval()
    weights = load_file(GOLDEN / "facexformer_tiny_weights.safetensors")
    model.load_state_dict(convert_facexformer_state_dict(weights))
    pixels = load_file(GOLDEN / "facexformer_input.safetensors")["pixel_values"]
    with torch.no_grad():
        ours, maps = model(pixels), model.get_backbone_maps(pixels)
        positions = model.position_embedding(56, 56)
    return ours, maps, positions, load_file(GOLDEN / "facexformer_tiny_outputs.safetensors")


@pytest.mark.parametrize("stage", range(4))
def test_backbone_taps(answers, stage):
    _, maps, _, reference = answers
    torch.testing.assert_close(maps[stage], reference[f"stage{stage + 1}"], **TOLERANCE)


@pytest.mark.parametrize(
    ("name", "reference_name"),
    [
        ("feature_map", "fused_states"),
        ("head_pose", "headpose"),
        ("attribute_logits", "attributes"),
        ("visibility_logits", "visibility"),
        ("age_logits", "age"),
        ("gender_logits", "gender"),
        ("race_logits", "race"),
    ],
)
def test_heads(answers, name, reference_name):
    ours, _, _, reference = answers
    torch.testing.assert_close(ours[name], reference[reference_name], **TOLERANCE)


def test_landmarks(answers):
    ours, _, _, reference = answers
    torch.testing.assert_close(ours.landmarks.flatten(1), reference["landmarks"], **TOLERANCE)


def test_segmentation(answers):
    ours, _, _, reference = answers
    every_fourth = ours.segmentation_logits[:, :, ::4, ::4]
    torch.testing.assert_close(every_fourth, reference["segmentation_stride4"], **TOLERANCE)
    top = ours.segmentation_logits.topk(2, dim=1)
    is_clear = top.values[:, 0] - top.values[:, 1] > 2e-5  # elsewhere rounding may pick the class
    assert is_clear.float().mean() > 0.9
    classes = top.indices[:, 0].to(torch.uint8)
    assert torch.equal(classes[is_clear], reference["segmentation_argmax"][is_clear])


def test_position_embedding(answers):
    _, _, positions, reference = answers
    expected = reference["image_pe"].flatten(2)[0].T
    torch.testing.assert_close(positions, expected, **TOLERANCE)


def test_a_missing_token_is_named():
    weights = load_file(GOLDEN / "facexformer_tiny_weights.safetensors")
    del weights["face_decoder.age_token.weight"]
    with pytest.raises(KeyError, match="age_token"):
        convert_facexformer_state_dict(weights)


def test_full_size_has_the_published_parameter_count():
    with torch.device("meta"):
        model = FaceXFormerModel(FaceXFormerConfig())
    assert sum(p.numel() for p in model.parameters()) == 91_985_943


@pytest.mark.parametrize("use_mirror", [False, True])
def test_the_backbones_maps_come_as_hidden_states_on_request(use_mirror):
    model = FaceXFormerModel(tiny_face_config(use_mirror=use_mirror)).eval()
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = model.get_backbone_maps(pixels)
        asked = model(pixels, output_hidden_states=True).hidden_states
        assert model(pixels).hidden_states is None
        model.config.output_hidden_states = True
        by_config = model(pixels).hidden_states
    torch.testing.assert_close(list(asked), maps)
    torch.testing.assert_close(by_config, asked)
