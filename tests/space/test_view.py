"""The picture with its boxes and cards, as the HTML that a browser gets."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")

from PIL import Image, ImageColor

from emo_llama.faces import Detection
from emo_llama.overlay import COLOURS, OTHER_COLOURS
from emo_llama.records import Face
from emo_llama.space.view import SIDE, Seen, hint, progress_text, show


def face(share: float = 0.7, text: str = "It looks happy.", left: float = 10.0) -> Face:
    shares = {"happiness": share, "neutral": 1.0 - share}
    best = max(shares, key=shares.__getitem__)
    box = (left, 20.0, left + 40.0, 60.0)
    return Face(box, 0.9, best, shares, shares[best], text=text)


def seen(*faces: Face, size: tuple[int, int] = (200, 100)) -> Seen:
    found = tuple(Detection(face.box, face.detection_score, face.box) for face in faces)
    return Seen(Image.new("RGB", size, "teal"), found, faces)


class Elements(HTMLParser):
    """Every element of a page, and whether all that were opened were closed."""

    VOID = {"img", "br"}

    def __init__(self, page: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))
        self.open += [tag] * (tag not in self.VOID)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_face_is_a_button_and_a_card() -> None:
    elements = Elements(show(seen(face(), face(0.2, left=100.0))))
    boxes = [given for tag, given in elements.all if given.get("class") == "face-box"]
    assert not elements.open
    assert [box["aria-label"] for box in boxes] == [
        "Face 1: happiness 70%",
        "Face 2: neutral 80%",
    ]
    assert boxes[1]["style"].startswith("left:50.000%;top:20.000%;width:20.000%;height:40.000%;")
    assert [box["aria-pressed"] for box in boxes] == ["true", "false"]
    assert sum(tag == "li" for tag, _ in elements.all) == 2


def test_no_text_of_a_model_becomes_markup() -> None:
    page = show(seen(face(text="<script>alert(1)</script>")), heading="<b>", beside="<i>")
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "<b>" not in page
    assert "<script>" not in hint("<script>") + progress_text("<script>")


@pytest.mark.parametrize(
    ("share", "told"), [(0.999, "&gt;99%"), (1.0, "100%"), (0.001, "&lt;1%"), (0.0, "0%")]
)
def test_what_is_not_certain_is_not_rounded_to_certainty(share: float, told: str) -> None:
    assert f"<td>{told}</td>" in show(seen(face(share)))


def test_below_the_threshold_there_is_no_verdict() -> None:
    assert "<strong>unsure, perhaps happiness 70%</strong>" in show(seen(face()).judged(0.71))
    assert "<strong>happiness 70%</strong>" in show(seen(face()).judged(0.7))


def test_the_other_setting_stands_beside_each_label() -> None:
    whole = seen(face(0.7))
    page = show(replace(whole, beside=(face(0.25, "It looks calm."),)), beside="bare")
    row = re.search(r"<tr><th scope=\"row\">happiness</th>.*?</tr>", page)
    assert row and re.findall(r"<td>([^<]*)</td>", row.group()) == ["70%", "25%"]
    assert re.findall(r"width:([\d.]+)%", row.group()) == ["70.0", "25.0"]
    assert "bare: It looks calm." in page


def test_no_face_is_said_with_what_to_do() -> None:
    page = show(seen())
    assert "No face found." in page and "let the whole picture be the face" in page


def test_a_large_picture_is_kept_and_sent_small() -> None:
    points = np.array([[30.0, 40.0]])
    large = seen(replace(face(), landmarks=points), size=(2 * SIDE, 100)).reduced()
    assert large.image.size == (SIDE, 50)
    assert large.found[0].crop == large.faces[0].box == (5.0, 10.0, 25.0, 30.0)
    assert large.record()["faces"][0]["box"] == [10.0, 20.0, 50.0, 60.0], "as the picture came"
    assert large.faces[0].landmarks.tolist() == [[15.0, 20.0]]
    assert '<circle cx="15.0" cy="20.0"' in show(large, landmarks=True)
    assert "<circle" not in show(large)


def test_nothing_in_the_page_is_fetched() -> None:
    addresses = [given["src"] for tag, given in Elements(show(seen(face()))).all if "src" in given]
    assert len(addresses) == 2
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)


def luminance(colour: str) -> float:
    """Relative luminance, as the Web Content Accessibility Guidelines 2.2 define it."""
    channels = np.array(ImageColor.getrgb(colour)) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("colour", [*COLOURS.values(), *OTHER_COLOURS])
def test_the_number_of_a_face_can_be_read_on_its_colour(colour: str) -> None:
    """4.5 to 1 is what the guidelines ask of small text, here dark on the colour of a label."""
    assert (luminance(colour) + 0.05) / (luminance("#111111") + 0.05) >= 4.5
