"""transformers' own common model tests, run on a tiny face network."""

import unittest

import pytest
import torch

pytest.importorskip("parameterized", reason="the common tests need it: pip install parameterized")

from transformers_tests import ARCHIVE, load_common_tests

from emo_llama.modeling import FaceXFormerModel
from emo_llama.testing import tiny_face_config

if not ARCHIVE.exists():
    pytest.skip(f"{ARCHIVE.name} is not in .cache: run `make install`", allow_module_level=True)

common = load_common_tests()
pytestmark = pytest.mark.slow


class FaceModelTester:
    """Sizes and inputs of the tiny face network, in the shape that the common tests expect."""

    batch_size = 3
    is_training = False  # the losses of its tasks are the trainer's

    def __init__(self, parent):
        self.parent = parent
        self.num_hidden_layers = self.get_config().num_decoder_layers

    def get_config(self):
        return tiny_face_config()

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        size = config.image_size
        return config, {"pixel_values": torch.rand(self.batch_size, 3, size, size)}


class FaceXFormerCommonTest(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (FaceXFormerModel,)
    test_resize_embeddings = False  # a face has no vocabulary

    def setUp(self):
        self.model_tester = FaceModelTester(self)
        # Gradients are kept for the hidden states alone, for the reason given below.
        self.has_attentions = "retain_grad" not in self._testMethodName

    @unittest.skip("pixels go straight into the backbone; there is no table of embeddings")
    def test_model_get_set_embeddings(self):
        pass

    def test_hidden_states_output(self):
        """Four maps at strides 4, 8, 16 and 32, by argument and by configuration."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        widths = config.backbone_config.hidden_sizes
        sides = [config.image_size // stride for stride in (4, 8, 16, 32)]
        expected = [(3, *shape) for shape in zip(widths, sides, sides, strict=True)]
        model = FaceXFormerModel(config).eval()
        with torch.no_grad():
            assert model(**inputs).hidden_states is None
            asked = model(**inputs, output_hidden_states=True).hidden_states
            config.output_hidden_states = True
            configured = FaceXFormerModel(config).eval()(**inputs).hidden_states
        for states in (asked, configured):
            assert [tuple(state.shape) for state in states] == expected

    @unittest.skip("its decoder's attention is PyTorch's, which keeps no weights")
    def test_attention_outputs(self):
        pass
