"""What a visitor sees of a picture: the faces as boxes to click, and a card for each.

It is plain HTML whose pictures lie in it: nothing of a visitor's photo is written to a file. Boxes
are buttons, so that they can be reached by keyboard; cards are list items with a heading each.
"""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr
from PIL import Image

from emo_llama.boxes import Box
from emo_llama.faces import Detection
from emo_llama.overlay import label_colour
from emo_llama.records import Face, Result

__all__ = ["Seen", "data_uri", "hint", "percent", "progress_text", "show", "verdict", "view"]

SIDE = 1280
"""Longest side of a picture as shown, pixels."""
THUMBNAIL = 128
"""Side of a face on its card, pixels."""

# `element` and `trigger` are gradio's. Another tab is opened by its own button, as a visitor would.
SCRIPT = """
element.addEventListener('click', (event) => {
  const target = event.target.closest('[data-face]');
  if (!target || target.tagName === 'LI') return;
  const face = target.dataset.face;
  element.querySelectorAll('.face-box').forEach((box) =>
    box.setAttribute('aria-pressed', String(box.dataset.face === face)));
  element.querySelectorAll('.face-card').forEach((card) => {
    card.classList.toggle('is-chosen', card.dataset.face === face);
    if (card.dataset.face === face && target.classList.contains('face-box'))
      card.scrollIntoView({ block: 'nearest', behavior: 'auto' });
  });
  trigger('select', { index: Number(face) });
  if (target.classList.contains('face-talk')) document.getElementById('chat-button')?.click();
});
"""


def view(elem_id: str, text: str) -> gr.HTML:
    """Add the place of a picture and its cards; its `select` tells the index of a clicked face.

    Args:
        elem_id (`str`): Its id in the page.
        text (`str`): What it says while there is nothing to show.

    Returns:
        `gradio.HTML`: The component.
    """
    return gr.HTML(
        hint(text),
        elem_id=elem_id,
        js_on_load=SCRIPT,
        apply_default_css=False,
        min_height=120,
    )


@dataclass(frozen=True)
class Seen:
    """What was recognised in one picture; it lives in the session of one visitor.

    Attributes:
        image (`PIL.Image.Image`):
            The picture, RGB, as displayed.
        found (`tuple[Detection, ...]`):
            Its faces, largest first.
        faces (`tuple[Face, ...]`):
            What was recognised in them, in the same order; fewer while the model is at work.
        beside (`tuple[Face, ...]`):
            The same by another setting, for comparison; empty where there is none.
        scale (`float`):
            By which the picture was larger when it came.
    """

    image: Image.Image
    found: tuple[Detection, ...]
    faces: tuple[Face, ...] = ()
    beside: tuple[Face, ...] = ()
    scale: float = 1.0

    def judged(self, threshold: float) -> "Seen":
        """Abstain where the likeliest label is less probable than a threshold.

        Args:
            threshold (`float`): A probability.

        Returns:
            [`Seen`]: The same with other `abstained`.
        """
        faces = [replace(face, abstained=face.confidence < threshold) for face in self.faces]
        return replace(self, faces=tuple(faces))

    def reduced(self) -> "Seen":
        """The same in a picture that is no larger than it is shown, which costs less to keep.

        Returns:
            [`Seen`]: With all places scaled.
        """
        scale = min(1.0, SIDE / max(self.image.size))
        if scale == 1.0:
            return self
        width, height = (max(1, round(side * scale)) for side in self.image.size)
        return Seen(
            self.image.resize((width, height)),
            tuple(_scaled(detection, scale) for detection in self.found),
            tuple(face.scaled(scale) for face in self.faces),
            tuple(face.scaled(scale) for face in self.beside),
            self.scale / scale,
        )

    def record(self) -> dict[str, Any]:
        """What the package writes of the picture.

        Returns:
            `dict[str, Any]`: The record, in the pixels of the picture as it came.
        """
        faces = [face.scaled(self.scale) for face in self.faces]
        return Result(path=None, kind="image", faces=faces).to_dict()


def hint(text: str) -> str:
    """A short text in the place of a result.

    Args:
        text (`str`): What to do.

    Returns:
        `str`: HTML.
    """
    return f'<p class="face-hint" role="status">{escape(text)}</p>'


def progress_text(text: str, done: float = 0, total: float = 0) -> str:
    """How far the work is.

    Args:
        text (`str`): What is done at the moment.
        done (`float`, *optional*, defaults to 0): How much of it is behind.
        total (`float`, *optional*, defaults to 0): How much there is; 0 where nobody knows.

    Returns:
        `str`: HTML.
    """
    value = f' value="{done:.6g}" max="{total:.6g}"' if total else ""
    return (
        f'<p class="face-hint" role="status">{escape(text)}'
        f'<progress{value} aria-label="{escape(text)}"></progress></p>'
    )


def show(
    seen: Seen,
    landmarks: bool = False,
    beside: str = "",
    talk: bool = True,
    heading: str = "Faces",
) -> str:
    """A picture with its faces, and their cards.

    Args:
        seen ([`Seen`]): What was recognised.
        landmarks (`bool`, *optional*, defaults to `False`): Whether to dot them.
        beside (`str`, *optional*): The name of the other setting, where there is one.
        talk (`bool`, *optional*, defaults to `True`): Whether a face can be talked about.
        heading (`str`, *optional*, defaults to `"Faces"`): What stands above.

    Returns:
        `str`: HTML.
    """
    seen = seen.reduced()
    width, height = seen.image.size
    count = len(seen.found)
    said = f"{count} face{'s' * (count != 1)} found" if count else "No face found"
    boxes = "".join(_box(i, f, seen.image) for i, f in enumerate(seen.faces))
    dots = _dots(seen) if landmarks else ""
    cards = "".join(_card(i, seen, beside, talk) for i in range(len(seen.faces)))
    advice = (
        ""
        if count
        else hint(
            "Try a picture in which the face is larger and turned to the camera, or let the whole "
            "picture be the face."
        )
    )
    return (
        f'<section class="face-view"><h2>{escape(heading)}</h2>'
        f'<p class="face-summary" role="status">{said}.</p>'
        f'<div class="face-frame"><div class="face-picture">'
        f'<img src="{data_uri(seen.image)}" alt="The picture. {said}." width="{width}" '
        f'height="{height}">'
        f"{dots}{boxes}</div></div>{advice}"
        f'<ol class="face-cards">{cards}</ol></section>'
    )


def _scaled(found: Detection, scale: float) -> Detection:
    """A face in the pixels of the same picture in another size."""
    box, crop = (
        (left * scale, top * scale, right * scale, bottom * scale)
        for left, top, right, bottom in (found.box, found.crop)
    )
    return Detection(box, found.score, crop)


def _box(index: int, face: Face, image: Image.Image) -> str:
    """A face as a button over the picture."""
    left, top, right, bottom = _shares(face.box, image.size)
    style = (
        f"left:{left:.3%};top:{top:.3%};width:{right - left:.3%};height:{bottom - top:.3%};"
        f"--face:{label_colour(face.label)}"
    )
    return (
        f'<button type="button" class="face-box" data-face="{index}" style="{style}" '
        f'aria-pressed="{str(index == 0).lower()}" aria-label="Face {index + 1}: {_said(face)}">'
        f'<span aria-hidden="true">{index + 1}</span></button>'
    )


def _shares(box: Box, size: tuple[int, int]) -> tuple[float, ...]:
    """A box in shares of the picture's sides."""
    return tuple(min(max(v / size[i % 2], 0.0), 1.0) for i, v in enumerate(box))


def _dots(seen: Seen) -> str:
    """The landmarks of all faces, in the picture's own pixels."""
    circles = []
    for face in seen.faces:
        radius = max((face.box[2] - face.box[0]) / 80, 0.8)
        for x, y in face.landmarks if face.landmarks is not None else ():
            circles.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.2f}"/>')
    width, height = seen.image.size
    dots = "".join(circles)
    return f'<svg class="face-dots" viewBox="0 0 {width} {height}" aria-hidden="true">{dots}</svg>'


def _card(index: int, seen: Seen, beside: str, talk: bool) -> str:
    """One face: how it looks, how probable each label is, and what the model says."""
    face = seen.faces[index]
    other = seen.beside[index] if index < len(seen.beside) else None
    crop = seen.image.crop(seen.found[index].crop)
    crop.thumbnail((THUMBNAIL, THUMBNAIL))
    talk_button = (
        f'<button type="button" class="face-talk" data-face="{index}" '
        f'aria-label="Talk about face {index + 1}">Talk about it</button>'
    )
    texts = _sentence(face.text)
    if other is not None:
        texts += f'<p class="face-aside">{escape(beside)}: {escape(other.text or "")}</p>'
    return (
        f'<li class="face-card{" is-chosen" * (index == 0)}" data-face="{index}" '
        f'style="--face:{label_colour(face.label)}">'
        f'<div class="face-head"><img src="{data_uri(crop)}" alt="">'
        f"<h3>Face {index + 1}<br><strong>{_said(face)}</strong></h3>"
        f"{talk_button * talk}</div>{_bars(face, other, beside)}{texts}</li>"
    )


def _said(face: Face) -> str:
    return verdict(face.label, face.confidence, face.abstained)


def verdict(label: str, share: float, is_unsure: bool) -> str:
    """A label with its probability, or that there is none to rely on.

    Args:
        label (`str`): The likeliest.
        share (`float`): Its probability.
        is_unsure (`bool`): Whether that is too little.

    Returns:
        `str`: HTML.
    """
    best = f"{escape(label)} {percent(share)}"
    return f"unsure, perhaps {best}" if is_unsure else best


def _sentence(text: str | None) -> str:
    return f"<p>{escape(text)}</p>" if text else ""


def _bars(face: Face, other: Face | None, beside: str) -> str:
    """The probabilities as a table: a row a label, the likeliest first."""
    head = ""
    if other is not None:
        head = (
            '<thead><tr><th scope="col">expression</th><th scope="col"></th>'
            f'<th scope="col">model</th><th scope="col">{escape(beside)}</th></tr></thead>'
        )
    rows = []
    for label, share in sorted(face.probabilities.items(), key=lambda item: -item[1]):
        bars, numbers = _bar(label, share), f"<td>{percent(share)}</td>"
        if other is not None:
            there = _of(other.probabilities, label)
            bars += _bar(label, there, "is-beside")
            numbers += f"<td>{percent(there)}</td>"
        rows.append(
            f'<tr><th scope="row">{escape(label)}</th>'
            f'<td class="face-track" aria-hidden="true">{bars}</td>{numbers}</tr>'
        )
    return f'<table class="face-bars">{head}<tbody>{"".join(rows)}</tbody></table>'


def percent(share: float) -> str:
    """A probability; what is not certain is not rounded to certainty.

    Args:
        share (`float`): In [0, 1].

    Returns:
        `str`: HTML.
    """
    if 0.995 <= share < 1.0:
        return "&gt;99%"
    return "&lt;1%" if 0.0 < share < 0.005 else f"{share:.0%}"


def _of(shares: Mapping[str, float], label: str) -> float:
    """A label's share; none where the other model does not know it."""
    return shares.get(label, 0.0)


def _bar(label: str, share: float, kind: str = "") -> str:
    return f'<span class="{kind}" style="width:{share:.1%};--face:{label_colour(label)}"></span>'


def data_uri(image: Image.Image) -> str:
    """A picture in the page itself.

    Args:
        image (`PIL.Image.Image`): RGB.

    Returns:
        `str`: An address that holds it as JPEG.
    """
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
