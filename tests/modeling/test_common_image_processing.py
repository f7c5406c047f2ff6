"""transformers' own common image processor tests, run on this project's image processor."""

import unittest

import pytest

pytest.importorskip("parameterized", reason="the common tests need it: pip install parameterized")

from transformers_tests import ARCHIVE, load_common_tests

from emo_llama.modeling import EmoLlamaImageProcessor

if not ARCHIVE.exists():
    pytest.skip(f"{ARCHIVE.name} is not in .cache: run `make install`", allow_module_level=True)

common = load_common_tests("image_processing")
pytestmark = pytest.mark.slow


class ImageProcessingTester:
    """Sizes and inputs in the shape that the common tests expect."""

    image_processing_classes = {"pil": EmoLlamaImageProcessor}
    batch_size = 4
    num_channels = 3

    def __init__(self, parent):
        self.parent = parent

    def prepare_image_processor_dict(self):
        return {"size": {"height": 56, "width": 56}, "face_size": {"height": 32, "width": 32}}

    def expected_output_image_shape(self, images):
        return self.num_channels, 56, 56

    def prepare_image_inputs(self, equal_resolution=False, numpify=False, torchify=False):
        return common.prepare_image_inputs(
            batch_size=self.batch_size,
            num_channels=self.num_channels,
            min_resolution=30,
            max_resolution=90,
            equal_resolution=equal_resolution,
            numpify=numpify,
            torchify=torchify,
        )


class EmoLlamaCommonImageProcessorTest(common.ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = ImageProcessingTester

    @unittest.skip("the encoders take three channels; a fourth is transparency, laid over white")
    def test_call_numpy_4_channels(self):
        pass

    @unittest.skip("one backend, without torchvision, serves every installation")
    def test_new_models_require_torchvision_backend(self):
        pass
