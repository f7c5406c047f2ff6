"""What the running Space turns away, what it says then, and what it forgets, over loopback."""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")

import gradio
import httpx
import safehttpx
from gradio import processing_utils
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import emo_llama.space
from emo_llama import EmotionRecognizer
from emo_llama.errors import MediaError
from emo_llama.space import limits
from emo_llama.space.app import build_demo, launch
from emo_llama.space.limits import LimitedBlocks, delete_old_files, visitor_error
from emo_llama.space.photo import FIND
from emo_llama.testing import tiny_model, tiny_processor


@pytest.fixture(scope="module")
def recognizer() -> EmotionRecognizer:
    return EmotionRecognizer(tiny_model(), tiny_processor())


@pytest.fixture(scope="module")
def demo(recognizer: EmotionRecognizer) -> Iterator[LimitedBlocks]:
    demo = build_demo(recognizer)
    launch(demo, "127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield demo
    demo.close()
    assert not demo.folder.exists(), "what visitors sent outlives the server"


@pytest.fixture(scope="module")
def http(demo: LimitedBlocks) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=demo.local_url, timeout=60) as client:
        yield client


def upload(http: httpx.Client, content: bytes, name: str = "photo.png") -> str:
    """The path that the server gives an uploaded file."""
    answer = http.post("/gradio_api/upload", files={"files": (name, content)})
    assert answer.status_code == 200, answer.text
    return answer.json()[0]


def call(http: httpx.Client, name: str, *data: Any) -> tuple[str, Any]:
    """What an endpoint answers with: `complete` or `error`, and its data."""
    if name == "photo":  # over HTTP nothing has a default
        data = (*data, FIND, "", 0.5)
    event = http.post(f"/gradio_api/call/{name}", json={"data": data})
    assert event.status_code == 200, event.text
    with http.stream("GET", f"/gradio_api/call/{name}/{event.json()['event_id']}") as answer:
        *_, kind, content = [line for line in answer.iter_lines() if line]
    return kind.removeprefix("event: "), json.loads(content.removeprefix("data: "))


def named(path: str | None, **changes: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}} | changes


def picture(width: int = 60, height: int = 40) -> bytes:
    """A picture as a file."""
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], bool]]:
    """A server elsewhere, which gradio takes for a public one; whether anybody asked it."""

    async def public(host: str) -> str:
        return host

    monkeypatch.setattr(processing_utils, "PUBLIC_HOSTNAME_WHITELIST", ["127.0.0.1"])
    monkeypatch.setattr(safehttpx, "async_validate_url", public)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)

        def was_asked() -> bool:
            with contextlib.suppress(TimeoutError):
                connection, _ = server.accept()
                connection.close()
                return True
            return False

        was_asked.address = f"http://127.0.0.1:{server.getsockname()[1]}/photo.png"
        yield was_asked


@pytest.mark.parametrize("endpoint", ["photo", "clip"])
@pytest.mark.parametrize("place", ["path", "url", "beside"])
def test_no_address_is_fetched_for_a_visitor(
    http: httpx.Client, listener: Callable[[], bool], endpoint: str, place: str
) -> None:
    file = {
        "path": named(listener.address),
        "url": named(None, url=listener.address),
        "beside": named("/etc/passwd", url=listener.address),
    }[place]
    kind, data = call(http, endpoint, file)
    assert not listener()
    assert kind == "error"
    assert "Upload the picture or clip itself" in data["error"]


@pytest.mark.parametrize("way", ["file=", "file/", "proxy="])
def test_the_server_is_no_way_to_other_hosts(
    http: httpx.Client, listener: Callable[[], bool], way: str
) -> None:
    answer = http.get(f"/gradio_api/{way}{listener.address}")
    assert not listener()
    assert answer.status_code == 403
    assert "upload the picture or clip itself" in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/deep_link?session_hash=x", "/monitoring", "/monitoring/summary"]
    + ["/gradio_api/run-history/buckets"],
)
def test_nothing_of_a_visit_is_shown_or_stored(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code in (403, 404)
    assert http.post("/gradio_api/process_recording", files={"f": b""}).status_code == 403


def test_only_uploads_and_results_are_served(http: httpx.Client, demo: LimitedBlocks) -> None:
    own = http.get(f"/gradio_api/file={upload(http, picture())}")
    assert own.status_code == 200
    assert own.content == picture()
    package = Path(emo_llama.space.__file__).parent
    others = [
        "/etc/passwd",
        "/proc/self/environ",
        f"{package}/app.py",
        f"{package.parent}/setup.cfg",
        f"{Path(emo_llama.__file__).parent}/assets/emo-llama-tiny/config.json",
        f"{demo.folder}/../",
        f"{demo.folder}",
        "emo_llama/__init__.py",
    ]
    for other in others:
        answer = http.get(f"/gradio_api/file={other}")
        assert answer.status_code == 403, other
        assert http.get(f"/gradio_api/file/{other}").status_code == 403


def test_nobody_passes_the_queue_by(http: httpx.Client) -> None:
    path = upload(http, picture())
    for way in ("run", "api"):
        answer = http.post(f"/gradio_api/{way}/photo", json={"data": [named(path)]})
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("photo.jpg", b"MZ\x90\x00" + bytes(999), "photo.jpg: expected a picture"),
        ("photo.png", picture()[:60], "photo.png: this image is broken or cut off"),
        ("photo.gif", b"GIF89a", "photo.gif: "),
    ],
    ids=["executable", "truncated", "no frame"],
)
def test_a_bad_picture_is_explained_without_a_path(
    http: httpx.Client, name: str, content: bytes, message: str
) -> None:
    kind, data = call(http, "photo", named(upload(http, content, name), orig_name=name))
    assert kind == "error"
    assert data["error"].startswith(message)
    assert "/" not in data["error"].replace(" / ", "")
    assert "Traceback" not in json.dumps(data)


def test_what_nobody_foresaw_tells_nothing(
    http: httpx.Client, recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("/root/secret.key")

    monkeypatch.setattr(recognizer, "encode", fail)
    path = upload(http, picture())
    kind, data = call(http, "photo", named(path))
    assert kind == "error"
    assert data["error"].startswith("This failed on the server. Try once more")
    assert "secret" not in json.dumps(data)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("/tmp/ab/cd/my photo.jpg: broken.", "my photo.jpg: broken."),
        ("cannot open '/usr/lib/a.so'", "cannot open 'a.so'"),
        ("see https://b.org/c/d, 1/2 of a/b", "see https://b.org/c/d, 1/2 of a/b"),
    ],
)
def test_paths_of_the_server_are_cut_to_names(told: str, said: str) -> None:
    assert visitor_error(MediaError(told)).message == said
    assert visitor_error(gradio.Error(told)).message == said


def test_markup_in_a_name_stays_text() -> None:
    assert visitor_error(MediaError("<img src=x>.jpg: broken")).message.startswith("&lt;img")


def test_a_large_file_is_turned_away_before_it_is_sent(demo: LimitedBlocks) -> None:
    before = sorted(demo.folder.rglob("*"))
    connection = HTTPConnection("127.0.0.1", demo.server_port)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Length", "500000000")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.endheaders(b"--x\r\n")
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"At most 102 MB are taken at once. Save the picture or clip smaller" in answer.read()
    connection.close()
    assert sorted(demo.folder.rglob("*")) == before


def test_a_body_of_no_told_size_is_counted(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_REQUEST_BYTES", 100_000)
    body = (b'{"data": ["' + b"x" * 90_000 + b'"]}' for _ in range(2))
    answer = http.post("/gradio_api/call/photo", content=body)
    assert answer.status_code == 413
    assert "Save the picture or clip smaller" in answer.json()["detail"]


def test_a_file_of_500_mb_is_refused_by_the_client_too(demo: LimitedBlocks, tmp_path: Path) -> None:
    with (tmp_path / "large.mp4").open("wb") as file:
        file.truncate(500_000_000)
    client = Client(demo.local_url, verbose=False)
    with pytest.raises(ValueError, match="exceeds the maximum file size of 104857600 bytes"):
        client.predict(handle_file(tmp_path / "large.mp4"), api_name="/clip")


def test_uploads_stop_when_the_folder_is_full(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(http, picture())
    monkeypatch.setattr(limits, "MAX_FOLDER_BYTES", 10)
    answer = http.post("/gradio_api/upload", files={"files": ("photo.png", picture())})
    assert answer.status_code == 503
    assert "Try again in some minutes" in answer.json()["detail"]


def test_a_full_queue_says_so(
    http: httpx.Client, demo: LimitedBlocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo._queue, "max_size", 0)
    answer = http.post("/gradio_api/call/photo", json={"data": [None]})
    assert answer.status_code == 503
    assert "Try again in a minute" in answer.json()["detail"]


def test_files_are_forgotten(http: httpx.Client, demo: LimitedBlocks) -> None:
    path = upload(http, picture())
    assert call(http, "photo", named(path))[0] == "complete"
    (demo.folder / "tmpbroken").write_bytes(b"an upload that broke off")
    delete_old_files(demo, 3600)
    assert Path(path).exists()
    delete_old_files(demo, -1)
    left = {str(file) for file in demo.folder.rglob("*") if file.is_file()}
    assert left <= {kept for block in demo.blocks.values() for kept in block.keep_in_cache}
    kind, data = call(http, "photo", named(path))
    assert kind == "error"
    assert "deleted 15 minutes after their last use. Upload it again" in data["error"]


def test_visitors_get_their_own_answers(http: httpx.Client) -> None:
    """Without a detector the whole picture is the face: its box tells whose picture it was."""
    together = Barrier(4)

    def visit(number: int) -> tuple[int, list[float]]:
        path = upload(http, picture(50 + number, 40))
        together.wait()
        _, data = call(http, "photo", named(path))
        return 50 + number, data[0]["faces"][0]["box"]

    with ThreadPoolExecutor(4) as pool:
        for width, box in pool.map(visit, range(8)):
            assert box == [0, 0, width, 40]


def test_errors_reach_clients_in_words(demo: LimitedBlocks) -> None:
    with pytest.raises(AppError, match="Upload one"):
        Client(demo.local_url, verbose=False).predict(None, api_name="/photo")


def test_what_a_killed_server_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "outer")
    monkeypatch.setenv("GRADIO_EXAMPLES_CACHE", "outer")
    held, left = (tmp_path / f"{limits.FOLDER_PREFIX}{name}" for name in ("held", "left"))
    other = tmp_path / "other"
    for folder in (held, left, other):
        folder.mkdir()
        (folder / "photo.png").write_bytes(picture())
    script = (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(held)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        folder = limits.private_folder()
        holder.stdin.close()
    assert sorted(tmp_path.iterdir()) == sorted([held, other, folder])
    assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
