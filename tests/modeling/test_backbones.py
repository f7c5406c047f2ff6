"""Backbones of transformers under the face network: which of their maps it reads."""

import pytest
import torch
from torch import nn

from emo_llama.modeling import FaceXFormerModel
from emo_llama.testing import tiny_face_config

BACKBONES = {
    "mobilenet_v1": {"depth_multiplier": 0.125},
    "mobilenet_v2": {"depth_multiplier": 0.1},
    "convnext": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
    "mobilevit": {"hidden_sizes": [12, 12, 12], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16]},
}


@pytest.mark.parametrize("kind", BACKBONES)
def test_maps_lie_at_four_strides(kind):
    config = tiny_face_config(backbone_config={"model_type": kind} | BACKBONES[kind])
    model = FaceXFormerModel(config).eval()
    with torch.no_grad():
        maps = model.get_backbone_maps(torch.zeros(1, 3, 64, 64))
        assert model.encode(torch.zeros(1, 3, 64, 64))[0].shape == (1, 16, 16, 16)
    assert [states.shape[-1] for states in maps] == [16, 8, 4, 2]
    widths = [projection.in_features for projection in model.fusion.projections]
    assert [states.shape[1] for states in maps] == widths


def test_a_map_is_the_last_of_its_size():
    """MobileNet v1 has several states at each stride; the deepest has seen all of them."""
    config = tiny_face_config(backbone_config={"model_type": "mobilenet_v1"})
    model = FaceXFormerModel(config).eval()
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        states = model.backbone(pixels, output_hidden_states=True).hidden_states
        maps = model.get_backbone_maps(pixels)
    for found, block in zip(maps, (3, 5, 11, 13), strict=True):
        torch.testing.assert_close(found, states[2 * block - 1])


def test_running_statistics_are_more_than_the_last_batch():
    config = tiny_face_config(backbone_config={"model_type": "mobilenet_v1"})
    norms = [m for m in FaceXFormerModel(config).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.1}


def test_a_backbone_without_four_maps_is_named():
    layers = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with pytest.raises(ValueError, match="vit: expected maps at strides 4, 8, 16, 32"):
        FaceXFormerModel(
            tiny_face_config(backbone_config={"model_type": "vit", "image_size": 64} | layers)
        )
