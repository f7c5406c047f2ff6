"""The real Space in a headless browser; `python tests/space/browser.py DIR` takes its pictures."""

import io
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
MAX_HEIGHT = 1500  # of a screenshot


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
    tab = page.locator(f"#{name.lower()}-button")
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


def _photo(page: Page) -> None:
    """The portrait with its landmarks."""
    send(page, "photo-input", PORTRAIT)
    page.locator("#photo-result .face-card").wait_for()
    page.get_by_label("Show landmarks").check()
    page.locator("#photo-result .face-dots circle").first.wait_for(state="attached")


def _clip(page: Page) -> None:
    """One of the clips to try."""
    page.locator("#clip-examples button").last.click()
    page.locator("#clip-result .clip-person").first.wait_for()


def talk_about_the_portrait(page: Page) -> Locator:
    """Go from a face in the tab Photo to a conversation about it."""
    choose_tab(page, "Photo")
    send(page, "photo-input", PORTRAIT)
    page.get_by_role("button", name="Talk about face 1").click()
    said = page.locator("#chat-said [data-testid=bot]")
    said.filter(has_text="happy").first.wait_for()
    return said


def ask(page: Page, question: str) -> None:
    """Type a question and send it."""
    page.locator("#chat-question textarea").fill(question)
    page.locator("#chat-question textarea").press("Enter")


def _chat(page: Page) -> None:
    """Two questions about the face of the portrait."""
    said = talk_about_the_portrait(page)
    for number, question in enumerate(("What do the eyes show?", "How clear is it?"), start=2):
        ask(page, question)
        said.nth(number - 1).filter(has_text=".").wait_for()
        time.sleep(3)  # until nothing more is written


def _compare(page: Page) -> None:
    """Six drawn faces with and without the Face Info Mining."""
    page.locator("#compare-examples button").last.click()
    page.locator("#compare-input img").first.wait_for()
    page.locator("#compare-run").click()
    page.locator("#compare .face-card").nth(11).wait_for()


def _palette(picture: Image.Image) -> Image.Image:
    """The commonest colours as they are, which are those of the page, and the range of the rest."""
    counts = sorted(picture.getcolors(picture.width * picture.height), reverse=True)
    page = [channel for _, colour in counts[:96] for channel in colour]
    rest = picture.quantize(160, method=Image.Quantize.MAXCOVERAGE).getpalette()
    palette = Image.new("P", (1, 1))
    palette.putpalette(page + rest)
    return palette


def save_picture(content: bytes, path: Path, largest: int = 145_000) -> None:
    """Write a screenshot as a PNG of few colours, so that it stays small."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    for width in (1000, 900, 800, 700, 600):
        small = picture
        if picture.width > width:
            small = picture.resize((width, round(picture.height * width / picture.width)))
        few = small.quantize(palette=_palette(small), dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        if path.stat().st_size <= largest:
            return


def take_pictures(folder: Path) -> None:
    """Every tab at work: light, dark and on a phone."""
    steps = {"Photo": _photo, "Clip": _clip, "Chat": _chat, "Compare": _compare, "About": None}
    looks = {"": (DESKTOP, False), "-dark": (DESKTOP, True), "-phone": (PHONE, False)}
    folder.mkdir(parents=True, exist_ok=True)
    with served() as address, browser() as chromium:
        for end, (size, dark) in looks.items():
            for name, step in steps.items():
                with opened(chromium, address, size, dark) as page:
                    choose_tab(page, name)
                    if step is not None:
                        step(page)
                    time.sleep(1)  # what fades in
                    height = page.evaluate("document.documentElement.scrollHeight")
                    page.mouse.move(0, 0)
                    part = {"x": 0, "y": 0, "width": size[0], "height": min(height, MAX_HEIGHT)}
                    content = page.screenshot(full_page=True, clip=part)
                save_picture(content, folder / f"space-{name.lower()}{end}.png")


if __name__ == "__main__":
    take_pictures(Path(sys.argv[1]))
