"""transformers' own common processor tests, run on the tiny test processor."""

import unittest

import pytest

pytest.importorskip("parameterized", reason="the common tests need it: pip install parameterized")

from transformers_tests import ARCHIVE, load_common_tests

from emo_llama.modeling import EmoLlamaProcessor
from emo_llama.testing import tiny_processor

if not ARCHIVE.exists():
    pytest.skip(f"{ARCHIVE.name} is not in .cache: run `make install`", allow_module_level=True)

common = load_common_tests("processing")
pytestmark = pytest.mark.slow


class EmoLlamaCommonProcessorTest(common.ProcessorTesterMixin, unittest.TestCase):
    processor_class = EmoLlamaProcessor

    @classmethod
    def _setup_from_components(cls):
        return tiny_processor()

    @staticmethod
    def prepare_processor_dict():
        processor = tiny_processor()
        names = ("num_tokens_per_frame", "max_question_length", "chat_template")
        return {name: getattr(processor, name) for name in names}

    def get_subprocessor_name(self, modality, attributes):
        """Frames are images: one processor takes both."""
        if modality == "videos":
            return "image_processor"
        return super().get_subprocessor_name(modality, attributes)

    @unittest.skip("videos have no processor of their own to compare with")
    def test_subprocessor_defaults_2_videos(self):
        pass
