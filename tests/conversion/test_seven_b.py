"""The 7B model, without its weights: every part has the published number of parameters."""

import importlib.util
from pathlib import Path

import pytest
import torch

from emo_llama.conversion.llama_vid_config import emo_llama_config, seven_b_config
from emo_llama.labels import FERPLUS
from emo_llama.modeling import EmoLlamaForConditionalGeneration, FaceXFormerConfig

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "convert.py"


@pytest.fixture(scope="module")
def model():
    with torch.device("meta"):
        return EmoLlamaForConditionalGeneration(seven_b_config())


# Counted in the reference's own modules, the tower's from one of its 39 blocks.
PUBLISHED = {
    # The reference's attention has no bias for keys; transformers' has one, and it is zero.
    "vision_tower": 985_894_528 + 39 * 1408,
    "frame_tokens.qformer": 185_660_160,
    "frame_tokens.norm": 2_816,
    "frame_tokens.query_projection": 1_082_752,
    "frame_tokens.key_projection": 1_983_872,
    "frame_tokens.value_projection": 5_771_264,
    "frame_tokens.content_projector": 22_552_576,
    "face_model": 91_985_943,
    # Vicuna-7B (6,738,415,616 with its head) and the two placeholders.
    "language_model": 6_738_415_616 - 32_000 * 4096 + 2 * 4096,
}


@pytest.mark.parametrize("part", PUBLISHED)
def test_each_part_has_its_published_size(model, part):
    module = model.model.get_submodule(part)
    assert sum(value.numel() for value in module.parameters()) == PUBLISHED[part]


def test_no_parameter_is_left_over(model):
    """Beside those: the queries, the head, and the Face Info Mining, which is ours."""
    named = sum(PUBLISHED.values()) + 24_576 + 32_002 * 4096
    mining = sum(value.numel() for value in model.model.face_info_mining.parameters())
    assert model.model.frame_tokens.query_tokens.numel() == 24_576
    assert model.num_parameters() == named + mining
    assert 10_000_000 < mining < 40_000_000


def test_a_conversion_writes_this_configuration():
    spec = importlib.util.spec_from_file_location("convert", BENCHMARK)
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    shapes = tables.llama_shapes() | tables.bridge_shapes() | tables.bert_shapes()
    shapes |= tables.eva_shapes()
    found = emo_llama_config(tables.LLAMA_VID, shapes, FERPLUS, FaceXFormerConfig(), {})
    assert found.to_dict() == seven_b_config().to_dict()
