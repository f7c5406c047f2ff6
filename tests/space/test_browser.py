"""Every tab of the real Space in a headless browser: what visitors do, and what goes wrong."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")
pytest.importorskip("playwright", reason="playwright is not installed: the extra `dev`")

import browser
from browser import (
    PORTRAIT,
    TABS,
    ask,
    choose_tab,
    opened,
    send,
    talk_about_the_portrait,
    write_clip,
)
from PIL import Image
from playwright.sync_api import Browser, Page, expect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no Chromium (apt: chromium)"),
]
CONTROLS = "button link textbox slider spinbutton checkbox radio combobox searchbox tab switch"
# Of an aria snapshot: `- button "Cancel"` has a name, `- button` and `- textbox: text` have none.
NAMELESS = re.compile(rf"^ *- '?(?:{CONTROLS.replace(' ', '|')})(?![\w]| [\"/]).*", re.MULTILINE)
expect.set_options(timeout=browser.WAIT_SECONDS * 1000)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with browser.served() as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.browser() as chromium:
        yield chromium


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    with opened(chromium, address) as page:
        yield page


@pytest.fixture
def phone(chromium: Browser, address: str) -> Iterator[Page]:
    with opened(chromium, address, browser.PHONE) as page:
        yield page


def thirty_faces(path: Path) -> Path:
    """The portrait's head, five by six times."""
    head = Image.open(PORTRAIT).convert("RGB").crop((110, 10, 330, 230))
    canvas = Image.new("RGB", (6 * 260, 5 * 260))
    for number in range(30):
        canvas.paste(head, (number % 6 * 260 + 20, number // 6 * 260 + 20))
    canvas.save(path)
    return path


def toast(page: Page, text: str) -> str:
    """What the page says about an error."""
    said = page.locator(".toast-body").filter(has_text=re.compile(re.escape(text), re.IGNORECASE))
    said.first.wait_for()
    return said.first.inner_text()


# --- photo


def test_a_photo_becomes_cards(page: Page) -> None:
    send(page, "photo-input", PORTRAIT)
    card = page.locator("#photo-result .face-card")
    expect(card).to_have_count(1)
    expect(card.get_by_role("heading")).to_contain_text("happiness")
    expect(card.get_by_role("row")).to_have_count(8)
    box = page.get_by_role("button", name=re.compile("^Face 1: happiness"))
    box.click()
    expect(box).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Show landmarks").check()
    expect(page.locator("#photo-result .face-dots circle")).to_have_count(68)
    page.get_by_label(re.compile("without Face Info Mining")).check()
    expect(card.locator(".face-aside")).to_contain_text("without FIM")
    page.get_by_role("button", name=re.compile("The record")).first.click()
    expect(page.locator("#photo-record")).to_contain_text("detection_score")


def test_examples_can_be_chosen_and_faces_switched(page: Page) -> None:
    page.get_by_role("button", name="Six drawn faces").first.click()
    expect(page.locator("#photo-result .face-card")).to_have_count(6)
    page.locator("#photo-result .face-box").nth(2).click()
    expect(page.locator("#photo-result .face-card.is-chosen")).to_have_attribute("data-face", "2")
    page.get_by_label("The whole picture is one face").check()
    page.locator("#photo-run").click()
    expect(page.locator("#photo-result .face-card")).to_have_count(1)


def test_a_camera_takes_a_photo(page: Page) -> None:
    page.get_by_role("button", name="Capture from camera").first.click()
    page.get_by_role("button", name="Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#photo-input video')?.readyState >= 2")
    page.get_by_role("button", name="capture photo").click()
    expect(page.locator("#photo-result .face-summary")).to_be_visible()


def test_no_face_says_what_to_do(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "teal").save(tmp_path / "sea.png")
    send(page, "photo-input", tmp_path / "sea.png")
    result = page.locator("#photo-result")
    expect(result).to_contain_text("No face found.")
    expect(result).to_contain_text("Try a picture in which the face is larger")


def test_thirty_faces_have_thirty_cards(page: Page, tmp_path: Path) -> None:
    send(page, "photo-input", thirty_faces(tmp_path / "crowd.jpg"))
    expect(page.locator("#photo-result .face-summary")).to_have_text("30 faces found.")
    expect(page.locator("#photo-result .face-card")).to_have_count(30)


def test_an_animated_gif_is_its_first_picture(page: Page, tmp_path: Path) -> None:
    first = Image.open(PORTRAIT).convert("RGB")
    rest = [Image.new("RGB", first.size, shade) for shade in ("red", "blue")]
    first.save(tmp_path / "moving.gif", save_all=True, append_images=rest, duration=100)
    send(page, "photo-input", tmp_path / "moving.gif")
    expect(page.locator("#photo-result .face-card")).to_have_count(1)


# --- clip


def test_a_clip_becomes_a_timeline(page: Page, tmp_path: Path) -> None:
    panel = choose_tab(page, "Clip")
    send(page, "clip-input", write_clip(tmp_path / "clip.mp4"))
    expect(panel.get_by_role("status").first).to_contain_text("1 person in 2.0 seconds")
    expect(panel.locator(".clip-person h3")).to_contain_text("happiness")
    panel.locator(".clip-peak").first.click()
    peak = float(panel.locator(".clip-peak").first.get_attribute("data-time"))
    page.wait_for_function(
        "peak => Math.abs(document.querySelector('#clip-input video').currentTime - peak) < 0.3",
        arg=peak,
    )
    lane = panel.get_by_role("slider", name=re.compile("Person 1"))
    lane.focus()
    page.keyboard.press("Home")
    page.wait_for_function("document.querySelector('#clip-input video').currentTime < 0.1")
    with page.expect_download() as download:
        panel.get_by_role("link", name="Download CSV").click()
    rows = Path(download.value.path()).read_text().splitlines()
    assert "happiness" in rows[0]
    assert len(rows) == 1 + 1 + 8, "a head, the person, and four frames a second"


def test_cancel_stops_the_work(page: Page, tmp_path: Path) -> None:
    panel = choose_tab(page, "Clip")
    send(page, "clip-input", write_clip(tmp_path / "clip.mp4", seconds=30, rate=25))
    expect(panel.locator("progress")).to_be_visible()
    panel.get_by_role("button", name="Cancel").click()
    expect(panel.locator("#clip-result")).to_contain_text("Press Recognize to begin again")
    time.sleep(2)  # nothing comes after it
    expect(panel.locator("#clip-result")).to_contain_text("Press Recognize to begin again")


# --- chat


def test_a_face_is_talked_about_in_several_turns(page: Page) -> None:
    said = talk_about_the_portrait(page)
    expect(page.locator("#chat-about")).to_contain_text("You talk about this face")
    ask(page, "What do the eyes show?")
    expect(said.nth(1)).to_contain_text("eyes")
    page.locator("#chat-examples button").first.click()
    expect(said).to_have_count(3)
    expect(said.nth(2)).to_contain_text(".")


def test_a_clip_is_talked_about(page: Page, tmp_path: Path) -> None:
    panel = choose_tab(page, "Chat")
    panel.get_by_role("tab", name="Clip").click()
    send(page, "chat-clip", write_clip(tmp_path / "clip.mp4"))
    expect(page.locator("#chat-about")).to_contain_text("You talk about this clip")
    expect(page.locator("#chat-said [data-testid=bot]").first).to_contain_text("happy")


def test_markup_in_a_question_stays_text(page: Page) -> None:
    talk_about_the_portrait(page)
    ask(page, "<img src=x onerror=document.title=1> **eyes**?")
    expect(page.locator("#chat-said [data-testid=user]").last).to_contain_text("<img src=x")
    assert page.title() == "EMO-LLaMA"


def test_a_question_about_nothing_says_what_to_do(page: Page) -> None:
    choose_tab(page, "Chat")
    ask(page, "What do the eyes show?")
    assert "Give a picture or a clip first" in toast(page, "nothing to talk about yet")


# --- errors


@pytest.mark.parametrize(
    ("tab", "name", "content", "message"),
    [
        ("photo", "me.jpg", b"MZ\x90\x00" + bytes(5000), "me.jpg: expected a picture"),
        ("photo", "me.jpg", PORTRAIT.read_bytes()[:4000], "broken or cut off"),
        ("clip", "me.mp4", b"\x7fELF\x02\x01\x01" + bytes(5000), "me.mp4: expected a picture"),
    ],
    ids=["executable", "truncated", "executable clip"],
)
def test_bad_files_are_explained(
    page: Page, tab: str, name: str, content: bytes, message: str
) -> None:
    choose_tab(page, tab.title())
    kind = {"photo": "image/jpeg", "clip": "video/mp4"}[tab]
    send(page, f"{tab}-input", {"name": name, "mimeType": kind, "buffer": content})
    assert "/" not in toast(page, message), "a path of the server"


def test_a_large_file_is_refused_at_once(page: Page, tmp_path: Path) -> None:
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(500_000_000)
    send(page, "photo-input", tmp_path / "large.jpg")
    assert "large.jpg" in toast(page, "exceed the maximum allowed size of 100")


def test_a_long_clip_is_refused(page: Page, tmp_path: Path) -> None:
    """40 minutes of real frames, one each second."""
    choose_tab(page, "Clip")
    send(page, "clip-input", write_clip(tmp_path / "talk.mp4", 2400, rate=1, side=64))
    assert "Cut out what matters" in toast(page, "40.0 minutes long, at most 5 are looked at here")


def test_nothing_chosen_is_said_so(page: Page) -> None:
    page.locator("#photo-run").click()
    assert "Upload one" in toast(page, "There is no picture yet")


# --- compare, about


def test_two_settings_are_compared(page: Page) -> None:
    panel = choose_tab(page, "Compare")
    send(page, "compare-input", PORTRAIT)
    panel.locator("#compare-run").click()
    expect(panel.locator(".face-card")).to_have_count(2)


def test_about_says_what_it_is_not_for_and_what_is_kept(page: Page) -> None:
    panel = choose_tab(page, "About")
    expect(panel).to_contain_text("5(1)(f)")
    expect(panel).to_contain_text(re.compile("delete|kept", re.IGNORECASE))


# --- several visitors


def test_each_visitor_sees_the_own_picture(chromium: Browser, address: str) -> None:
    with opened(chromium, address) as one, opened(chromium, address) as other:
        send(one, "photo-input", PORTRAIT)
        other.get_by_role("button", name="Six drawn faces").first.click()
        expect(one.locator("#photo-result .face-card")).to_have_count(1)
        expect(other.locator("#photo-result .face-card")).to_have_count(6)
        expect(one.locator("#photo-result .face-card")).to_have_count(1)


# --- phone, dark, keyboard, screen readers


def test_nothing_is_wider_than_a_phone(phone: Page) -> None:
    send(phone, "photo-input", PORTRAIT)
    expect(phone.locator("#photo-result .face-card")).to_have_count(1)
    for name in TABS:
        choose_tab(phone, name)
        width = phone.evaluate("document.documentElement.scrollWidth")
        assert width <= browser.PHONE[0], f"{name} is {width} pixels wide"


def luminance(colour: str) -> float:
    """Of a CSS colour, as WCAG 2.2 defines it."""
    parts = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read_in_light_and_dark(chromium: Browser, address: str, dark: bool) -> None:
    with opened(chromium, address, dark=dark) as page:
        send(page, "photo-input", PORTRAIT)
        page.locator("#photo-result .face-card").wait_for()
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (luminance(paper) < 0.1) == dark
        for place in (".face-card p", ".face-card th", ".face-summary", "#introduction h1"):
            ink = page.locator(place).first.evaluate("e => getComputedStyle(e).color")
            light, shade = sorted((luminance(ink), luminance(paper)), reverse=True)
            assert (light + 0.05) / (shade + 0.05) >= 4.5, f"{place}: {ink} on {paper}"


def test_the_keyboard_is_enough(page: Page) -> None:
    """Tab reaches every control of the photo, in the order of the page; Enter presses it."""
    order = []
    for _ in range(30):
        page.keyboard.press("Tab")
        order.append(
            page.evaluate(
                "() => { const e = document.activeElement; return e.ariaLabel || e.innerText ||"
                " e.labels?.[0]?.innerText || e.id }"
            )
        )
    text = "\n".join(map(str, order))
    wanted = [
        "Photo",
        "Clip",
        "Chat",
        "Upload",
        "Recognize",
        "Cancel",
        "A portrait",
        "Find the faces",
        "landmarks",
    ]
    places = [text.find(name) for name in wanted]
    assert -1 not in places, f"Tab does not reach {wanted[places.index(-1)]}: {order}"
    assert places == sorted(places)
    page.get_by_role("button", name="A portrait (NASA)").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#photo-result .face-card")).to_have_count(1)
    box = page.locator("#photo-result .face-box")
    box.focus()
    page.keyboard.press("Enter")
    expect(box).to_have_attribute("aria-pressed", "true")
    page.get_by_role("tab", name="Clip").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#clip")).to_be_visible()


@pytest.mark.parametrize("name", TABS)
def test_every_control_has_a_name(page: Page, name: str) -> None:
    if name == "Photo":
        send(page, "photo-input", PORTRAIT)
        page.locator("#photo-result .face-card").wait_for()
    choose_tab(page, name)
    time.sleep(0.5)  # what is drawn once the tab is shown
    tree = page.locator("body").aria_snapshot()
    assert not NAMELESS.findall(tree)
    assert page.evaluate("document.documentElement.lang")
    assert page.title() == "EMO-LLaMA"
