"""The image processor: what each network sees, from which kinds of image, and what it refuses."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from emo_llama.modeling.image_processing_emo_llama import EmoLlamaImageProcessor

IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))


@pytest.fixture
def picture():
    values = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((180, 120), Image.Resampling.BICUBIC)


def normalised(image, mean, std):
    return ((np.asarray(image) / 255 - mean) / std).transpose(2, 0, 1)


def test_shapes_and_types(picture):
    processor = EmoLlamaImageProcessor(size=56, face_size={"height": 32, "width": 24})
    inputs = processor([picture, picture], face_boxes=[(5, 5, 40, 60), None], return_tensors="pt")
    assert inputs["pixel_values"].shape == (2, 3, 56, 56)
    assert inputs["face_pixel_values"].shape == (2, 3, 32, 24)
    assert inputs["pixel_values"].dtype == inputs["face_pixel_values"].dtype == torch.float32
    assert inputs["pixel_values"].is_contiguous() and inputs["face_pixel_values"].is_contiguous()
    assert inputs["face_mask"].tolist() == [True, False]
    assert not inputs["face_pixel_values"][1].any()


def test_without_padding_it_equals_clip(picture):
    ours = EmoLlamaImageProcessor(size=56, do_pad=False, do_face_crop=False)
    clip = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size=56)
    for image in (picture, picture.rotate(90, expand=True), picture.crop((0, 0, 20, 11))):
        expected = clip(image, return_tensors="np")["pixel_values"]
        np.testing.assert_allclose(
            ours(image, return_tensors="np")["pixel_values"], expected, atol=1e-5
        )


def test_padding_puts_the_mean_colour_around_the_picture(picture):
    processor = EmoLlamaImageProcessor(size=180, do_face_crop=False)
    pixels = processor(picture, return_tensors="np")["pixel_values"][0]
    assert abs(pixels[:, :30]).max() < 0.02 and abs(pixels[:, 150:]).max() < 0.02
    expected = normalised(picture, np.array(processor.image_mean), np.array(processor.image_std))
    np.testing.assert_allclose(pixels[:, 30:150], expected, atol=1e-5)


def test_neither_padding_nor_cropping_stretches(picture):
    processor = EmoLlamaImageProcessor(size=56, do_pad=False, do_center_crop=False)
    pixels = processor(picture, return_tensors="np")["pixel_values"][0]
    stretched = picture.resize((56, 56), Image.Resampling.BICUBIC)
    expected = normalised(stretched, np.array(processor.image_mean), np.array(processor.image_std))
    np.testing.assert_allclose(pixels, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("box", "cut"),
    [
        ((40, 30, 80, 70.9), (30, 19, 90, 81)),  # grown by half, cut to whole pixels
        ((0, 0, 80, 80), (0, 0, 100, 100)),  # clipped at the upper left corner
        ((100, 60, 400, 300), (25, 0, 180, 120)),  # and beyond the lower right one
    ],
)
def test_the_face_crop_is_facexformers(picture, box, cut):
    processor = EmoLlamaImageProcessor()
    pixels = processor(picture, face_boxes=[box], return_tensors="np")["face_pixel_values"][0]
    crop = picture.crop(cut).resize((224, 224), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(pixels, normalised(crop, *IMAGENET), atol=1e-5)


def test_without_boxes_the_whole_image_is_the_face(picture):
    processor = EmoLlamaImageProcessor(face_size=48)
    whole = processor(picture, return_tensors="np")
    boxed = processor(picture, face_boxes=[(0, 0, *picture.size)], return_tensors="np")
    assert whole["face_mask"].tolist() == [True]
    np.testing.assert_array_equal(whole["face_pixel_values"], boxed["face_pixel_values"])


def test_the_tower_can_see_the_face(picture):
    settings = {"size": 40, "face_size": 40, "vision_input": "face", "face_margin": 0.0}
    processor = EmoLlamaImageProcessor(
        **settings, image_mean=[0.5] * 3, image_std=[0.5] * 3, do_grayscale_face=True
    )
    boxes = [(20, 10, 70, 60), None]
    pixels = processor([picture, picture], face_boxes=boxes, return_tensors="np")["pixel_values"]
    for seen, source in zip(pixels, (picture.crop(boxes[0]), picture), strict=True):
        grey = source.convert("L").resize((40, 40), Image.Resampling.BICUBIC)
        expected = np.repeat((np.asarray(grey) / 255 - 0.5)[None] / 0.5, 3, axis=0)
        np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_every_kind_of_image_gives_the_same(picture, tmp_path):
    processor = EmoLlamaImageProcessor(size=56, face_size=32)
    array = np.asarray(picture)
    picture.save(tmp_path / "picture.png")
    kinds = [
        array,
        array.transpose(2, 0, 1),
        torch.from_numpy(array.copy()),
        (array / 255).astype(np.float64),
        picture.convert("RGBA"),
        str(tmp_path / "picture.png"),
    ]
    expected = processor(picture, return_tensors="np")
    for kind in kinds:
        given = processor(kind, return_tensors="np")
        for name in ("pixel_values", "face_pixel_values"):
            np.testing.assert_allclose(
                given[name], expected[name], atol=0.03, err_msg=str(kind)[:40]
            )


def test_grey_images_of_every_kind():
    values = np.linspace(0, 255, 40 * 40).reshape(40, 40).astype(np.uint8)
    processor = EmoLlamaImageProcessor(size=40, face_size=40)
    expected = processor(Image.fromarray(values).convert("RGB"), return_tensors="np")
    sixteen_bit = Image.fromarray(values.astype(np.uint16) * 256)
    for image in (values[None], Image.fromarray(values), sixteen_bit, sixteen_bit.convert("I")):
        given = processor(image, return_tensors="np")
        np.testing.assert_allclose(given["pixel_values"], expected["pixel_values"], atol=1e-5)


def test_transparency_lies_over_white():
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    palette = Image.new("P", (8, 8), 0)
    palette.info["transparency"] = 0
    processor = EmoLlamaImageProcessor(size=8, do_face_crop=False, do_normalize=False)
    for transparent in (image, palette):
        np.testing.assert_allclose(processor(transparent, return_tensors="np")["pixel_values"], 1.0)


def test_boxes_are_of_the_image_as_displayed(picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter before it is shown
    path = tmp_path / "turned.png"
    picture.save(path, exif=exif)
    upright = picture.rotate(-90, expand=True)
    processor = EmoLlamaImageProcessor(size=56, face_size=32)
    boxes = [(70, 120, 110, 170)]
    expected = processor(upright, face_boxes=boxes, return_tensors="np")
    for image in (str(path), Image.open(path)):
        given = processor(image, face_boxes=boxes, return_tensors="np")
        np.testing.assert_array_equal(given["face_pixel_values"], expected["face_pixel_values"])


def test_a_call_can_change_the_settings(picture):
    processor = EmoLlamaImageProcessor(size=56, do_face_crop=False)
    raw = processor(picture, do_rescale=False, do_normalize=False, size=24, return_tensors="np")
    assert raw["pixel_values"].shape == (1, 3, 24, 24)
    assert raw["pixel_values"].max() > 1
    assert set(raw) == {"pixel_values"}


def test_settings_survive_saving(tmp_path):
    processor = EmoLlamaImageProcessor(
        size=56,
        face_size=32,
        face_margin=0.0,
        vision_input="face",
        do_grayscale_face=True,
        do_pad=False,
    )
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved["face_size"] == {"height": 32, "width": 32} and "face_boxes" not in saved
    again = EmoLlamaImageProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([], "0 boxes for 1 images"),
        ([(1, 2, 3)], "four finite numbers"),
        ([(0, 0, float("nan"), 5)], "four finite numbers"),
        ([(50, 50, 20, 80)], "covers no pixel"),
        ([(500, 500, 600, 600)], "covers no pixel of its image of 180x120"),
    ],
)
def test_boxes_that_cannot_be_meant(picture, boxes, message):
    with pytest.raises(ValueError, match=message):
        EmoLlamaImageProcessor()(picture, face_boxes=boxes)


def test_settings_that_cannot_be_meant():
    with pytest.raises(ValueError, match="vision_input"):
        EmoLlamaImageProcessor(vision_input="eyes")
    with pytest.raises(ValueError, match="`size` needs a height and a width"):
        EmoLlamaImageProcessor(size={"shortest_edge": 224})


@pytest.mark.parametrize("axis", [0, 2])
def test_arrays_with_transparency_lie_on_white(axis):
    pixels = np.zeros((30, 40, 4), np.uint8)
    pixels[:, 20:] = (200, 100, 50, 255)
    processor = EmoLlamaImageProcessor(size=56, face_size=32)
    given = processor([np.moveaxis(pixels, 2, axis)], return_tensors="np")
    flat = Image.new("RGB", (40, 30), "white")
    flat.paste((200, 100, 50), (20, 0, 40, 30))
    expected = processor([flat], return_tensors="np")
    for name in ("pixel_values", "face_pixel_values"):
        np.testing.assert_array_equal(given[name], expected[name])


def test_a_strip_does_not_fill_the_memory():
    """60,000 x 600 pixels would be padded to 11 GB."""
    strip = Image.new("RGB", (60_000, 600), (255, 0, 0))
    values = EmoLlamaImageProcessor(size=64)(strip, return_tensors="np")["pixel_values"]
    assert values[0, 0, 32, 32] > values[0, 0, 0, 0]  # red in the middle, padding above


def test_broken_exif_does_not_stop_a_picture():
    exif = b"Exif\0\0junkjunkjunk"
    stream = io.BytesIO()
    Image.new("RGB", (40, 30)).save(stream, "JPEG", exif=exif)
    values = EmoLlamaImageProcessor(size=56)(Image.open(stream))["pixel_values"]
    assert values[0].shape == (3, 56, 56)
