"""Reading images and videos that nobody has vetted."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from emo_llama.errors import InputNotFoundError, MediaError, UsageError
from emo_llama.media import find_media, media_kind, read_image, read_video

PORTRAIT = Path(__file__).parents[1] / "emo_llama" / "assets" / "portrait.jpg"


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=format, **options)
    return stream.getvalue()


def write_clip(path: Path, frames: int = 20, fps: int = 10) -> Path:
    """A clip whose frames grow brighter, so that each can be told from the others."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(frames):
            pixels = np.full((48, 64, 3), index * 10, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP"])
def test_every_format_in_every_form(tmp_path: Path, format: str) -> None:
    content = encoded(Image.new("RGB", (9, 7), (250, 0, 0)), format)
    path = tmp_path / "photo.txt"  # the name tells nothing
    path.write_bytes(content)
    for source in (content, path, str(path), Image.open(path)):
        image = read_image(source)
        assert (image.mode, image.size) == ("RGB", (9, 7))
        assert image.getpixel((4, 3))[0] > 240


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((2, 3), 128, np.uint8), (128, 128, 128)),
        (np.full((2, 3, 1), 128, np.uint8), (128, 128, 128)),
        (np.full((2, 3, 3), 0.5, np.float32), (128, 128, 128)),
        (np.zeros((2, 3, 4), np.uint8), (255, 255, 255)),  # transparent: on white
    ],
)
def test_arrays(pixels: np.ndarray, expected: tuple[int, int, int]) -> None:
    image = read_image(pixels)
    assert image.size == (3, 2)
    assert image.getpixel((0, 0)) == expected


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((3,), np.uint8),
        np.zeros((2, 2, 5), np.uint8),
        np.zeros((0, 2, 3), np.uint8),
        np.zeros((2, 2, 3), np.int64),
        np.full((2, 2, 3), 200.0),
        np.full((2, 2, 3), np.nan),
    ],
    ids=lambda p: f"{p.shape}-{p.dtype}",
)
def test_arrays_that_are_no_pictures(pixels: np.ndarray) -> None:
    with pytest.raises(MediaError, match="Expected"):
        read_image(pixels)


def test_exif_turns_the_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to display
    assert read_image(encoded(Image.new("RGB", (40, 20)), "JPEG", exif=exif)).size == (20, 40)


def test_modes_are_shown_as_a_viewer_shows_them() -> None:
    deep = Image.fromarray(np.full((2, 2), 32768, np.uint16))
    assert read_image(encoded(deep, "PNG")).getpixel((0, 0))[0] == pytest.approx(127, abs=1)
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([9, 9, 9])
    assert read_image(encoded(palette, "PNG", transparency=0)).getpixel((0, 0)) == (255,) * 3


def test_a_broken_file_says_so(tmp_path: Path) -> None:
    whole = PORTRAIT.read_bytes()
    for name, content, message in (
        ("cut.jpg", whole[:5000], "broken or cut off"),
        ("text.jpg", b"this is text", "not an image"),
        ("empty.jpg", b"", "empty"),
        ("other.gif", encoded(Image.new("L", (2, 2)), "GIF"), "not an image"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(MediaError, match=message) as caught:
            read_image(path)
        assert name in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="nix.png: no such file"):
        read_image(tmp_path / "nix.png")
    with pytest.raises(MediaError, match="a folder without images"):
        read_image(tmp_path)
    with pytest.raises(UsageError, match="got int"):
        read_image(3)


def test_a_picture_of_too_many_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emo_llama.media.MAX_IMAGE_PIXELS", 99)
    with pytest.raises(MediaError, match="10 x 10 pixels"):
        read_image(encoded(Image.new("L", (10, 10)), "PNG"))


def test_a_file_of_too_many_bytes_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("emo_llama.media.MAX_IMAGE_BYTES", 99)
    with pytest.raises(MediaError, match="MB"):
        read_image(PORTRAIT)


def test_folders_are_searched_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "empty").mkdir()
    for name in ("a.jpg", "b/c.MP4", "b/notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    found = [tmp_path / "a.jpg", tmp_path / "b" / "c.MP4"]
    assert find_media([tmp_path]) == found
    assert find_media([found[1], tmp_path]) == found[::-1]
    assert find_media([tmp_path / "empty"]) == [tmp_path / "empty"]
    assert [media_kind(path) for path in found] == ["image", "video"]


def test_a_clip_is_sampled_by_time(tmp_path: Path) -> None:
    frames = list(read_video(write_clip(tmp_path / "clip.mp4"), fps=5))
    assert [round(frame.time, 2) for frame in frames] == pytest.approx(np.arange(10) / 5)
    assert all(frame.image.size == (64, 48) for frame in frames)
    brightness = [np.asarray(frame.image).mean() for frame in frames]
    assert brightness == pytest.approx([index * 20 for index in range(10)], abs=6)


def test_a_long_clip_is_sampled_evenly(tmp_path: Path) -> None:
    frames = list(read_video(write_clip(tmp_path / "clip.mp4"), fps=10, max_frames=4))
    assert [round(frame.time, 2) for frame in frames] == pytest.approx([0, 0.5, 1, 1.5])


def test_broken_clips_are_errors_and_not_crashes(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "clip.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    for size in (1, 40, len(whole) // 3):
        path.write_bytes(whole[:size])
        with pytest.raises(MediaError, match="cut.mp4"):
            list(read_video(path))
    path.write_text("this is text")
    with pytest.raises(MediaError, match="cannot be read"):
        list(read_video(path))
    with pytest.raises(InputNotFoundError):
        list(read_video(tmp_path / "nix.mp4"))


def test_a_decoder_that_dies_or_hangs_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    decoder = tmp_path / "decoder.py"
    monkeypatch.setattr("emo_llama.media._DECODER", decoder)
    decoder.write_text("import os; os.abort()")
    with pytest.raises(MediaError, match="signal 6"):
        list(read_video(clip))
    monkeypatch.setattr("emo_llama.media.MAX_FRAME_SECONDS", 0.1)
    decoder.write_text("import time; time.sleep(60)")
    with pytest.raises(MediaError, match=r"within 0\.1 s"):
        list(read_video(clip))


def test_a_reader_who_stops_early_leaves_no_process(tmp_path: Path) -> None:
    frames = read_video(write_clip(tmp_path / "clip.mp4"))
    next(frames)
    frames.close()
