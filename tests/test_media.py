"""Reading images and videos that nobody has vetted."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import av
import media_corpus
import numpy as np
import pytest
from PIL import Image

from emo_llama.errors import InputNotFoundError, MediaError, MissingDependencyError, UsageError
from emo_llama.media import find_media, media_kind, read_image, read_video
from emo_llama.modeling import media_emo_llama as decoder
from emo_llama.modeling.media_emo_llama import to_rgb

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
            pixels = np.full((48, 64, 3), index % 25 * 10, dtype=np.uint8)
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
        ("other.gif", encoded(Image.new("L", (2, 2)), "PPM"), "not an image"),
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
    assert find_media([tmp_path]).files == found
    assert find_media([found[1], tmp_path]).files == found[::-1]
    assert find_media([tmp_path / "empty"]).files == [tmp_path / "empty"]
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
    assert [frame.duration for frame in frames] == pytest.approx([2.0] * 4)


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


def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """The decoder as it is, but for what it does with the file."""
    path = tmp_path / "decoder.py"
    path.write_text(
        f"import os, sys, time\nsys.path.insert(0, {str(Path(decoder.__file__).parent)!r})\n"
        f"import media_emo_llama as decoder\n"
        f"def sampled_frames(*args, **options):\n    {body}\n    yield\n"
        "decoder.sampled_frames = sampled_frames\nsys.exit(decoder.main())\n"
    )
    monkeypatch.setattr(decoder, "_SCRIPT", str(path))


def test_a_decoder_that_dies_or_hangs_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    script(tmp_path, monkeypatch, "os.abort()")
    with pytest.raises(MediaError, match="signal 6"):
        list(read_video(clip))
    script(tmp_path, monkeypatch, "bytearray(1 << 40)")
    with pytest.raises(MediaError, match="cannot be read"):
        list(read_video(clip))
    monkeypatch.setattr(decoder, "MAX_FRAME_SECONDS", 0.1)
    script(tmp_path, monkeypatch, "time.sleep(60)")
    with pytest.raises(MediaError, match=r"within 0\.1 s"):
        list(read_video(clip))


def test_a_reader_who_stops_early_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(decoder.subprocess, "Popen", Recorded)
    clip = write_clip(tmp_path / "clip.mp4", frames=600)
    frames = read_video(clip, fps=100, max_frames=600)
    next(frames)
    (child,) = started
    assert child.poll() is None  # far from done: the pipe holds a few frames only
    frames.close()
    assert child.returncode == -signal.SIGKILL  # waited for as well: no zombie
    assert not Path(f"/proc/{child.pid}").exists()


def test_names_and_play_lists_open_nothing_else(tmp_path: Path) -> None:
    """Addresses, protocols and lists of files are names and text here, as everywhere else."""
    outside, folder = tmp_path / "outside.mp4", tmp_path / "folder"
    write_clip(outside)
    (folder / "http:").mkdir(parents=True)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.2)
        address = f"127.0.0.1:{server.getsockname()[1]}/x.mp4"
        (folder / "http:" / address.split("/")[0]).mkdir()
        lists = {
            folder / "http:" / address: b"not a video",
            folder / "list.mp4": f"ffconcat version 1.0\nfile {outside}\n".encode(),
            folder / "hls.mp4": f"#EXTM3U\n#EXTINF:5,\nhttp://{address}\n#EXT-X-ENDLIST\n".encode(),
            folder / "hls.mkv": f"#EXTM3U\n#EXTINF:5,\nfile://{outside}\n".encode(),
            folder / "stream.avi": b"v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
            folder / "dash.mov": f"<MPD><BaseURL>http://{address}</BaseURL></MPD>".encode(),
        }
        for path, content in lists.items():
            path.write_bytes(content)
        found = find_media([folder]).files
        assert sorted(lists) == found
        names = [os.path.relpath(path, folder) for path in found]
        names += [f"http://{address}", f"subfile,,start,0,end,0,,:{outside}", f"concat:{outside}"]
        with contextlib.chdir(folder):
            for name in names:
                with pytest.raises((MediaError, InputNotFoundError)):
                    list(read_video(name))
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_name_is_a_name(tmp_path: Path) -> None:
    for name in ("12:30.mkv", "http:", "subfile,,start,0,end,0,,:x.mp4", "-i.mp4", "a\nb.avi"):
        path = tmp_path / name
        write_clip(tmp_path / "clip.mkv").rename(path)
        with contextlib.chdir(tmp_path):
            assert len(list(read_video(name))) == 8


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_deep_grey_is_as_bright_as_it_was_taken(bits: int, format: str) -> None:
    """A camera's 12 bits in a file of 16 are not a dark picture."""
    shallow = np.arange(256, dtype=np.uint16).reshape(16, 16)
    content = encoded(Image.fromarray(shallow << (bits - 8)), format)
    for image in (read_image(content), to_rgb(Image.open(io.BytesIO(content)))):
        np.testing.assert_array_equal(np.asarray(image)[..., 0], shallow)


def test_an_empty_name_is_not_the_current_folder() -> None:
    with pytest.raises(UsageError, match="got an empty one"):
        find_media([""])


def test_a_program_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "module.ts").write_text("export const Greeting = 'GG'\n" * 99)
    stream = media_corpus.clip("mpegts", "mpeg4")
    for name, content in (("whole.ts", stream), ("cut.ts", stream[1000:])):
        (tmp_path / name).write_bytes(content)
    found, left_out = find_media([tmp_path])
    assert [path.name for path in found] == ["cut.ts", "whole.ts"]
    assert left_out == {".ts": 1}


@pytest.mark.parametrize(("format", "codec"), [("matroska", "mpeg4"), ("webm", "libvpx")])
def test_a_recording_without_a_duration_is_seen_to_its_end(
    tmp_path: Path, format: str, codec: str
) -> None:
    """As browsers write it: no duration, no index."""
    path = tmp_path / "clip.mkv"
    path.write_bytes(media_corpus.clip(format, codec, count=400, size=(32, 32), live=True))
    with av.open(str(path)) as container:
        assert container.duration is None
    times = [frame.time for frame in read_video(path)]
    assert len(times) == 64
    assert times[-1] > 39


@pytest.mark.parametrize(("format", "codec"), [("h264", "libx264"), ("mpeg2video", "mpeg2video")])
def test_frames_without_time_stamps_have_the_stream_s_rate(
    tmp_path: Path, format: str, codec: str
) -> None:
    path = tmp_path / "clip.m2v"
    path.write_bytes(media_corpus.clip(format, codec, count=75, rate=25, size=(64, 64)))
    times = [frame.time for frame in read_video(path, fps=1)]
    assert times == pytest.approx([0, 1, 2], abs=0.05)


def test_uneven_frames_keep_their_times(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    stamps = [0, 1, 2, 3, 50, 51, 52, 90]
    content = media_corpus.clip("matroska", "mpeg4", count=8, stamps=stamps.__getitem__)
    path.write_bytes(content)
    times = [frame.time for frame in read_video(path, fps=10, max_frames=99)]
    assert times == pytest.approx([stamp / 10 for stamp in stamps])


def test_stamps_that_jump_back_go_on(tmp_path: Path) -> None:
    path = tmp_path / "clip.ts"
    path.write_bytes(media_corpus.clip("mpegts", "mpeg2video", count=50, rate=25) * 2)
    times = [frame.time for frame in read_video(path, fps=1)]
    assert times == pytest.approx([0, 1, 2, 3], abs=0.1)


def test_every_frame_is_checked_and_not_the_header_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.avi"
    path.write_bytes(media_corpus.giant_frames(160))
    assert {f.image.size for f in read_video(path, fps=99)} == {(64, 64), (160, 160)}
    monkeypatch.setattr(decoder, "MAX_VIDEO_SIDE", 100)
    assert {f.image.size for f in read_video(path, fps=99)} == {(64, 64)}


def test_a_strip_is_not_padded_to_a_square() -> None:
    with pytest.raises(MediaError, match="100 times the shorter"):
        read_image(encoded(Image.new("1", (1, 101)), "PNG"))
    with pytest.raises(MediaError, match="32766 pixels a side"):
        read_image(encoded(Image.new("1", (32_767, 700)), "PNG"))


def test_heic_is_read_with_its_extra() -> None:
    """As phones write it: turned by its EXIF, which the decoder has then done already."""
    heif = pytest.importorskip("pillow_heif")
    image = Image.new("RGB", (64, 48), (0, 0, 250))
    image.paste((250, 0, 0), (0, 0, 32, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    heif.from_pillow(image).save(stream, format="HEIF", exif=exif.tobytes(), quality=95)
    read = read_image(stream.getvalue())
    assert read.size == (48, 64)
    assert read.getpixel((24, 8))[0] > 200 > 100 > read.getpixel((24, 56))[0]
    for size in (200, len(stream.getvalue()) - 40):
        with pytest.raises(MediaError):
            read_image(stream.getvalue()[:size])


def test_heic_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingDependencyError, match=r"emo-llama\[heic\]"):
        read_image(b"\0\0\0\x18ftypheic" + bytes(99))
