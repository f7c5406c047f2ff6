import pytest

from emo_llama.modeling import EmoLlamaConfig, FaceInfoMiningConfig
from emo_llama.testing import tiny_config


def test_defaults_are_the_seven_billion_architecture():
    config = EmoLlamaConfig()
    vision, text = config.vision_config, config.text_config
    assert (vision.num_hidden_layers, vision.hidden_size, vision.intermediate_size) == (
        39,
        1408,
        6144,
    )
    assert (text.num_hidden_layers, text.hidden_size, text.intermediate_size) == (32, 4096, 11008)
    assert (text.rms_norm_eps, text.max_position_embeddings) == (1e-5, 4096)
    assert (config.qformer_config.vocab_size, config.qformer_config.encoder_hidden_size) == (
        30523,
        1408,
    )
    assert config.face_config.backbone_config.model_type == "swin"
    assert config.num_tokens_per_frame == 4


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"face_config": None},
        {"compress": "grid:3", "attribute_prompt": "given", "label_temperature": 1.7},
        {"conv_tower": True},
        {"id2label": {0: "calm", 1: "glad"}, "label_bias": [0.5, -0.5]},
    ],
)
def test_saving_and_loading_changes_nothing(overrides, tmp_path):
    config = tiny_config(**overrides)
    config.save_pretrained(tmp_path)
    loaded = EmoLlamaConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert loaded.num_tokens_per_frame == config.num_tokens_per_frame
    assert type(loaded.fim_config) is FaceInfoMiningConfig
    assert loaded.id2label == config.id2label


@pytest.mark.parametrize("compress", ["grid", "grid:0", "grid:x", "none", ""])
def test_unknown_compress_modes_are_refused(compress):
    with pytest.raises(Exception, match="compress must be"):
        tiny_config(compress=compress)


def test_all_patches_of_a_pyramid_need_the_grid():
    with pytest.raises(Exception, match="needs vision_grid_size"):
        tiny_config(conv_tower=True, compress="all", vision_grid_size=None)


def test_the_label_bias_has_a_number_for_each_label():
    with pytest.raises(Exception, match="3 numbers for 2 labels"):
        tiny_config(id2label={0: "calm", 1: "glad"}, label_bias=[0.0, 0.1, 0.2])
    with pytest.raises(Exception, match=r"operating_points\['balanced'\] has 1 numbers for 2"):
        tiny_config(id2label={0: "calm", 1: "glad"}, operating_points={"balanced": [0.5]})


def test_face_tokens_must_suffice_for_both_kinds():
    with pytest.raises(Exception, match="at least 2"):
        FaceInfoMiningConfig(face_tokens_per_frame=1)


def test_face_tokens_are_shared_out():
    fim = FaceInfoMiningConfig(face_tokens_per_frame=5)
    assert (fim.num_global_queries, fim.num_local_queries) == (3, 2)
