"""Which files of a visitor are worked on."""

import os
import struct
import sys
from pathlib import Path
from typing import Any

import av
import media_corpus
import numpy as np
import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")

from PIL import Image

from emo_llama.errors import InputNotFoundError, MediaError
from emo_llama.space import uploads
from emo_llama.space.uploads import check_inputs


def named(path: Path | str | None, **changes: Any) -> dict[str, Any]:
    """A file as gradio's page and clients name it."""
    return {"path": path and str(path), "meta": {"_type": "gradio.FileData"}} | changes


def long_clip(path: Path, minutes: float) -> Path:
    """A clip of three frames, the last of them late."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            frame.pts = round(number * minutes * 60 * 25 / 2)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_pictures_and_clips_that_were_uploaded_pass(tmp_path: Path) -> None:
    Image.new("RGB", (640, 480)).save(tmp_path / "photo.png")
    frames = [Image.new("L", (32, 32), shade) for shade in (0, 99, 200)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    long_clip(tmp_path / "clip.mp4", minutes=4)
    (tmp_path / "named.txt").write_bytes((tmp_path / "photo.png").read_bytes())
    for path in sorted(tmp_path.iterdir()):
        os.utime(path, (0, 0))
        check_inputs(["a question", None, {"files": [named(path)]}], tmp_path)
        assert path.stat().st_mtime > 0, "its age begins anew"


@pytest.mark.parametrize(
    "file",
    [
        named("/etc/passwd"),
        named(uploads.__file__),
        named("http://127.0.0.1:9/photo.jpg"),
        named("FOLDER/../elsewhere.png"),
        named("FOLDER/link.png"),
        named("FOLDER"),
        named("photo.png"),
        named("FOLDER/a\0b"),
        named(None, url="http://127.0.0.1:9/photo.jpg"),
        named(None, url="data:image/png;base64,iVBORw0KGgo="),
        {"url": "http://127.0.0.1:9/photo.jpg"},
        {"path": ["/etc/passwd"]},
    ],
)
def test_other_paths_and_addresses_are_refused(tmp_path: Path, file: dict[str, Any]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "elsewhere.png")
    (folder / "link.png").symlink_to(tmp_path / "elsewhere.png")
    if isinstance(file.get("path"), str):
        file = file | {"path": file["path"].replace("FOLDER", str(folder))}
    with pytest.raises(MediaError, match="Upload the picture or clip itself"):
        check_inputs([{"value": [file]}], folder)


def test_an_address_beside_a_path_is_removed(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    inputs = [named(tmp_path / "photo.png", url="http://127.0.0.1:9/other.jpg")]
    check_inputs(inputs, tmp_path)
    assert "url" not in inputs[0]


def test_a_deleted_file_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        check_inputs([named(tmp_path / "gone.png")], tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        Path(sys.executable).read_bytes()[:100_000],
        b"MZ\x90\x00" + bytes(1000),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"#EXTM3U\nhttp://127.0.0.1:9/a.ts\n",
        b"",
    ],
    ids=["executable", "windows", "svg", "postscript", "playlist", "empty"],
)
def test_content_counts_and_not_the_name(tmp_path: Path, content: bytes) -> None:
    for name in ("photo.jpg", "clip.mp4"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MediaError, match=rf"^{name}: expected a picture .* found other"):
            check_inputs([named(tmp_path / name)], tmp_path)


def test_pixels_are_counted_before_they_are_decoded(tmp_path: Path) -> None:
    Image.new("1", (8000, 8000)).save(tmp_path / "large.png")
    with pytest.raises(MediaError, match="8000 x 8000 pixels, at most 50 million"):
        check_inputs([named(tmp_path / "large.png")], tmp_path)
    header = media_corpus.chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + media_corpus.chunk(b"IDAT", b"")
    )
    with pytest.raises(MediaError, match=r"bomb.png: .*Save it smaller"):
        check_inputs([named(tmp_path / "bomb.png")], tmp_path)


def test_long_clips_are_refused(tmp_path: Path) -> None:
    clip = long_clip(tmp_path / "clip.mp4", minutes=40)
    with pytest.raises(MediaError, match=r"40\.0 minutes long, at most 5 are"):
        check_inputs([named(clip)], tmp_path)


def test_clips_with_too_much_to_decode_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = long_clip(tmp_path / "clip.mp4", minutes=1)
    monkeypatch.setattr(uploads, "MAX_CLIP_PIXELS", 3 * 64 * 64 - 1)
    with pytest.raises(MediaError, match="3 frames of 64 x 64 pixels are more"):
        check_inputs([named(clip)], tmp_path)


def test_a_clip_without_its_end_is_refused_in_a_process_of_its_own(tmp_path: Path) -> None:
    whole = media_corpus.clip("mp4", "libx264", count=20, rate=10)
    (tmp_path / "clip.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match="clip.mp4: this video cannot be read"):
        check_inputs([named(tmp_path / "clip.mp4")], tmp_path)
