"""transformers' own common model tests, run on the tiny test model."""

import unittest
from unittest.mock import patch

import pytest
import torch

pytest.importorskip("parameterized", reason="the common tests need it: pip install parameterized")

from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)
from transformers_tests import ARCHIVE, load_common_tests

from emo_llama.modeling import EmoLlamaForConditionalGeneration, EmoLlamaModel
from emo_llama.testing import tiny_config

if not ARCHIVE.exists():
    pytest.skip(f"{ARCHIVE.name} is not in .cache: run `make install`", allow_module_level=True)

common = load_common_tests()
pytestmark = pytest.mark.slow


class ModelTester:
    """Sizes and inputs of the tiny test model, in the shape that the common tests expect."""

    batch_size = 3
    text_length = 7
    is_training = True

    def __init__(self, parent):
        self.parent = parent
        config = self.get_config()
        self.seq_length = self.text_length + config.num_tokens_per_frame
        self.num_hidden_layers = config.text_config.num_hidden_layers
        self.num_attention_heads = config.text_config.num_attention_heads
        self.hidden_size = config.text_config.hidden_size

    def get_config(self):
        return tiny_config()

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        count = config.num_tokens_per_frame
        text = torch.randint(6, 90, (self.batch_size, self.text_length))
        image = torch.full((self.batch_size, count), config.image_token_id)
        input_ids = torch.cat([text[:, :2], image, text[:, 2:]], dim=1)
        size = config.face_config.image_size
        inputs = {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            "pixel_values": torch.rand(self.batch_size, 3, 56, 56),
            "qformer_input_ids": torch.randint(4, 90, (self.batch_size, 5)),
            "face_pixel_values": torch.rand(self.batch_size, 3, size, size),
        }
        return config, inputs


class EmoLlamaCommonTest(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (EmoLlamaModel, EmoLlamaForConditionalGeneration)
    _is_composite = True
    # Heads of the face network answer questions of their own; the language model never asks them.
    test_all_params_have_gradient = False

    def setUp(self):
        self.model_tester = ModelTester(self)
        # The common tests know by these tables which class is a base model, which one takes labels
        # and what its image features must look like.
        self.enterContext(patch.dict(MODEL_MAPPING_NAMES, emo_llama="EmoLlamaModel"))
        self.enterContext(
            patch.dict(
                MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
                emo_llama="EmoLlamaForConditionalGeneration",
            )
        )

    def _video_features_prepare_config_and_inputs(self):
        """Each image of the common inputs as a video of one frame: (batch, frames, C, H, W)."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        return config, {
            "pixel_values_videos": inputs["pixel_values"][:, None],
            "qformer_input_ids_videos": inputs["qformer_input_ids"],
            "face_pixel_values_videos": inputs["face_pixel_values"][:, None],
        }

    @unittest.skip(
        "transformers' archive does not carry the generation tests; ours are in this folder"
    )
    def test_generation_tester_mixin_inheritance(self):
        pass

    @unittest.skip(
        "either name of the cache is taken, on every version, and neither is called deprecated"
    )
    def test_bc_cache_name_forward(self):
        pass
