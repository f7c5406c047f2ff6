"""The annotated picture."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageChops
from test_media import write_clip

from emo_llama import media, overlay
from emo_llama.overlay import annotated_jpeg, draw_contact_sheet, draw_overlay, label_colour
from emo_llama.records import Face, FrameFace, Result

PROBABILITIES = {"neutral": 0.03, "happiness": 0.95, "surprise": 0.02}


def face(box: tuple[float, float, float, float], **fields: object) -> Face:
    return Face(box, 0.9, "happiness", PROBABILITIES, 0.95, **fields)


def test_the_original_is_left_alone_and_the_box_is_drawn() -> None:
    image = Image.new("RGB", (500, 400), "white")
    drawn = draw_overlay(image, [face((100, 100, 200, 200))])
    assert drawn.size == image.size
    assert image.getcolors() == [(500 * 400, (255, 255, 255))]
    assert drawn.getpixel((100, 150)) == drawn.getpixel((150, 100)) == (240, 196, 25)
    left, top, right, bottom = ImageChops.difference(drawn, image).getbbox()
    assert left <= 100 and top <= 100 and right > 200 and bottom > 200


@pytest.mark.parametrize("size", [(1, 1), (37, 500), (4000, 60)])
@pytest.mark.parametrize("box", [(0, 0, 1, 1), (-20, -20, 9000, 9000), (30, 30, 36, 36)])
def test_no_size_and_no_box_fails(size: tuple[int, int], box: tuple[float, ...]) -> None:
    drawn = draw_overlay(Image.new("RGB", size), [face(box)])
    assert min(drawn.size) >= min(360, min(size) * 360)


@pytest.mark.parametrize("size", [(30_000, 2), (2, 30_000), (70_000, 100)])
def test_a_strip_takes_little_memory_and_fits_a_jpeg(size: tuple[int, int], tmp_path: Path) -> None:
    drawn = draw_overlay(Image.new("RGB", size), [face((0, 0, *size))])
    assert drawn.width * drawn.height <= 16_000_000
    drawn.save(tmp_path / "strip.jpg")


def test_landmarks_are_drawn_where_they_are() -> None:
    points = np.full((68, 2), 150.0)
    drawn = draw_overlay(Image.new("RGB", (400, 400)), [face((90, 90, 310, 310), landmarks=points)])
    assert drawn.getpixel((150, 150))[0] > 150


def test_an_abstention_is_shown() -> None:
    image = Image.new("RGB", (400, 400))
    sure, unsure = face((50, 50, 150, 150)), face((50, 50, 150, 150), abstained=True)
    assert ImageChops.difference(
        draw_overlay(image, [sure]), draw_overlay(image, [unsure])
    ).getbbox()


def test_each_label_has_its_colour() -> None:
    assert label_colour("anger") != label_colour("fear")
    assert label_colour("boredom") == label_colour("boredom")


def test_a_video_becomes_a_sheet_of_frames(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4")
    frames = [
        FrameFace(t, (5, 5, 40, 40), "happiness", PROBABILITIES) for t in (0.0, 0.3, 0.5, 0.8)
    ]
    person = face((5, 5, 40, 40), track=0, frames=frames)
    sheet = draw_contact_sheet(Result(str(path), "video", faces=[person]))
    assert sheet.size == (3 * 480, 2 * 360)


def test_a_sheet_of_tall_frames_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = SimpleNamespace(time=0.0, image=Image.new("RGB", (16, 1200)))
    monkeypatch.setattr(overlay, "read_video", lambda path: [frame])
    seen = [FrameFace(0.0, (0, 0, 16, 16), "happiness", PROBABILITIES)]
    person = face((0, 0, 16, 16), track=0, frames=seen)
    assert draw_contact_sheet(Result("a.mp4", "video", faces=[person])).size == (480, 1080)


def test_boxes_fit_a_picture_that_is_read_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (1600, 1600), "white").save(path)
    monkeypatch.setattr(media, "MAX_IMAGE_PIXELS", 1_000_000)
    points = np.full((68, 2), 800.0)
    found = face((400, 400, 1200, 1200), landmarks=points)
    drawn = Image.open(io.BytesIO(annotated_jpeg(Result(str(path), "image", faces=[found]))))
    assert drawn.size == (800, 800)
    assert drawn.getpixel((200, 400))[2] < 100  # the left edge of the box, yellow
    assert drawn.getpixel((400, 395)) != (255, 255, 255)
