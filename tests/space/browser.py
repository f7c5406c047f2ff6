"""The real Space in a headless browser; `python tests/space/browser.py DIR` takes its pictures."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

ROOT = Path(__file__).parents[2]
PORTRAIT = ROOT / "emo_llama" / "assets" / "portrait.jpg"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-ui-for-media-stream "
    "--use-fake-device-for-media-stream"
).split()
START_SECONDS = 240
WAIT_SECONDS = 45
TABS = ("Photo", "Clip", "Chat", "Compare", "About")
DESKTOP, PHONE = (1280, 900), (390, 844)


@contextmanager
def served() -> Iterator[str]:
    """The address of `python space/app.py`, in a process of its own, with the embedded model."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "space" / "app.py")]
    server = subprocess.Popen(command, env=os.environ | {"GRADIO_SERVER_PORT": str(port)})
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError):
                urllib.request.urlopen(f"{address}/config", timeout=5).close()
                break
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the Space did not start")
            time.sleep(0.3)
        yield address
    finally:
        server.terminate()
        server.wait(60)


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium with a camera that shows a test picture."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def opened(
    chromium: Browser, address: str, size: tuple[int, int] = DESKTOP, dark: bool = False
) -> Iterator[Page]:
    """The page of one visitor, ready to use; it asks no other host and runs into no error."""
    width, height = size
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    asked, errors = set(), []
    page.on("request", lambda request: asked.add(re.match(r"\w+://[^/]*|\w+:", request.url)[0]))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(WAIT_SECONDS * 1000)
    page.goto(f"{address}/?__theme={'dark' if dark else 'light'}")
    page.locator("#photo-input input[type=file]").wait_for(state="attached")
    yield page
    context.close()
    assert asked <= {address, "data:", "blob:"}, f"the page asked another host: {asked}"
    assert not errors


def choose_tab(page: Page, name: str) -> Locator:
    """Open a tab; on a phone it may be in the menu of those that do not fit."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if not tab.is_visible():
        page.locator(".overflow-menu > button").click()
        tab = page.locator(".overflow-dropdown button", has_text=name)
    tab.click()
    panel = page.locator(f"#{name.lower()}")
    panel.wait_for(state="visible")
    return panel


def send(page: Page, elem_id: str, file: Path | dict) -> None:
    """Upload a file as a visitor does."""
    page.locator(f"#{elem_id} input[type=file]").first.set_input_files(file)


def write_clip(path: Path, seconds: float = 2.0, rate: int = 10, side: int = 320) -> Path:
    """The portrait as a clip, moving a little."""
    portrait = Image.open(PORTRAIT).convert("RGB").resize((side, side))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for index in range(round(seconds * rate)):
            shifted = np.roll(np.asarray(portrait), index % 20, axis=1)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shifted), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
