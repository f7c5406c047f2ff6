"""Draws what was found onto a picture: boxes, landmarks, label, probabilities.

It needs nothing but Pillow and its built-in font, and draws on a copy. Everything drawn scales
with the picture, so that a 100-pixel thumbnail and a 4000-pixel photo are both readable.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from emo_llama.errors import MediaError
from emo_llama.media import read_reduced_image, read_video
from emo_llama.records import Face, Result

# One colour an expression, far apart also for most colour-blind eyes; others follow in turn.
COLOURS = {
    "neutral": "#b0b0b0",
    "happiness": "#f0c419",
    "surprise": "#56b4e9",
    "sadness": "#4f7bd9",
    "anger": "#e0482f",
    "disgust": "#2ca25f",
    "fear": "#b07cd8",
    "contempt": "#e69f00",
}
OTHER_COLOURS = ("#cc79a7", "#b0786c", "#17becf", "#bcbd22")
SHORTEST_SIDE = 360  # smaller pictures are enlarged, or no text would fit
MAX_ENLARGED = 16_000_000  # pixels; a strip would become gigabytes
LARGEST_SIDE = 65500  # the most that a JPEG can have
BARS = 3
SHEET_FRAMES = 6
TILE_WIDTH = 480  # pixels
TILE_HEIGHT = 1080
JPEG_QUALITY = 92


@dataclass(frozen=True)
class _Style:
    """Sizes in pixels for one picture."""

    line: int
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    text_height: int


def draw_overlay(image: Image.Image, faces: Sequence[Face]) -> Image.Image:
    """Draw faces onto a copy of a picture.

    Args:
        image (`PIL.Image.Image`):
            The picture as displayed, RGB.
        faces (`Sequence[Face]`):
            What the recognizer found in it.

    Returns:
        `PIL.Image.Image`: The annotated copy, RGB; small pictures come back enlarged, and what no
        JPEG could hold smaller.

    Example:
    ```python
    >>> from PIL import Image
    >>> from emo_llama.overlay import draw_overlay

    >>> draw_overlay(Image.new("RGB", (120, 90)), []).size
    (480, 360)
    ```
    """
    largest = (MAX_ENLARGED / (image.width * image.height)) ** 0.5
    factor = max(1.0, min(SHORTEST_SIDE / min(image.size), largest))
    factor = min(factor, LARGEST_SIDE / max(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    canvas = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(canvas, "RGBA")
    for face in sorted(faces, key=lambda f: f.box[3]):  # nearer faces are lower: drawn last
        box = tuple(value * factor for value in face.box)
        style = _style(canvas.size, box)
        colour = label_colour(face.label)
        draw.rectangle(box, outline=colour, width=style.line)
        if face.landmarks is not None:
            _draw_landmarks(draw, face.landmarks * factor, (box[2] - box[0]) / 110)
        _draw_panel(draw, face, box, canvas.size, style)
    return canvas


def draw_contact_sheet(result: Result) -> Image.Image:
    """Draw up to six frames of a video, with the faces found in each.

    Args:
        result (`Result`):
            What the recognizer found in a video file.

    Returns:
        `PIL.Image.Image`: The annotated frames, three a row, in order of time.
    """
    times = sorted({frame.time for face in result.faces for frame in face.frames or ()})
    picks = np.linspace(0, len(times) - 1, min(SHEET_FRAMES, len(times))).round().astype(int)
    chosen = {times[pick] for pick in picks}
    tiles = []
    for frame in read_video(str(result.path)):
        if frame.time not in chosen:
            continue
        seen = [
            Face(f.box, None, f.label, f.probabilities, f.probabilities[f.label], track=face.track)
            for face in result.faces
            for f in face.frames or ()
            if f.time == frame.time
        ]
        picture = draw_overlay(frame.image, seen)
        factor = min(TILE_WIDTH / picture.width, TILE_HEIGHT / picture.height)
        size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        tiles.append(picture.resize(size, Image.Resampling.LANCZOS))
    if not tiles:
        raise MediaError(f"{result.path}: its frames are others than before. Run it again.")
    columns, height = min(3, len(tiles)), max(tile.height for tile in tiles)
    sheet = Image.new("RGB", (columns * TILE_WIDTH, -(-len(tiles) // columns) * height))
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % columns * TILE_WIDTH, index // columns * height))
    return sheet


def annotated_jpeg(result: Result) -> bytes:
    """Draw what was found in a file.

    Args:
        result (`Result`):
            What the recognizer found in an image or video file.

    Returns:
        `bytes`: The annotated picture, or the sheet of frames, as JPEG.

    Raises:
        MediaError: The file cannot be read any more.
    """
    if result.kind == "video":
        picture = draw_contact_sheet(result)
    else:
        image, scale = read_reduced_image(str(result.path))
        picture = draw_overlay(image, [face.scaled(1.0 / scale) for face in result.faces])
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def label_colour(label: str) -> str:
    """Choose the colour of an expression.

    Args:
        label (`str`):
            The expression.

    Returns:
        `str`: A colour such as `"#f0c419"`, always the same for the same label.
    """
    return COLOURS.get(label) or OTHER_COLOURS[sum(map(ord, label)) % len(OTHER_COLOURS)]


def _style(size: tuple[int, int], box: Sequence[float]) -> _Style:
    """Scale the drawing to the picture, and to faces that stand close together."""
    short = min(size)
    text = round(np.clip((box[2] - box[0]) * 0.16, short * 0.022, short * 0.04))
    text = max(9, text)
    return _Style(max(1, round(short / 240)), ImageFont.load_default(text), text)


def _draw_landmarks(draw: ImageDraw.ImageDraw, landmarks: np.ndarray, radius: float) -> None:
    """Dot the landmarks, light with a dark rim."""
    rim = radius * 1.6
    for x, y in landmarks:
        draw.ellipse((x - rim, y - rim, x + rim, y + rim), "#00000090")
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), "#ffffffd0")


def _draw_panel(
    draw: ImageDraw.ImageDraw,
    face: Face,
    box: Sequence[float],
    size: tuple[int, int],
    style: _Style,
) -> None:
    """Write the most probable labels with their bars, beside the box where there is room."""
    name = "unsure" if face.abstained else None
    ranked = sorted(face.probabilities.items(), key=lambda item: -item[1])[:BARS]
    rows = [(name or label if i == 0 else label, p, label) for i, (label, p) in enumerate(ranked)]
    pad, row = style.text_height // 3, round(style.text_height * 1.35)
    number = round(style.font.getlength("100%"))
    names = round(max(style.font.getlength(text) for text, _, _ in rows))
    bar = style.text_height * 3
    width, height = names + bar + number + 4 * pad, row * len(rows) + 2 * pad
    left, top = _panel_corner(box, (width, height), size)
    draw.rectangle((left, top, left + width, top + height), fill="#101010c8")
    for index, (text, probability, label) in enumerate(rows):
        y = top + pad + index * row
        draw.text((left + pad, y), text, fill="#ffffff", font=style.font)
        x = left + names + 2 * pad
        bottom = y + style.text_height
        draw.rectangle((x, y, x + bar, bottom), fill="#ffffff30")
        draw.rectangle((x, y, x + bar * probability, bottom), fill=label_colour(label))
        draw.text((x + bar + pad, y), f"{probability:.0%}", fill="#ffffff", font=style.font)


def _panel_corner(
    box: Sequence[float], panel: tuple[int, int], size: tuple[int, int]
) -> tuple[float, float]:
    """Where the panel goes: below the box, else above, else beside it, else into its corner."""
    width, height = panel
    left = min(max(box[0], 0), max(size[0] - width, 0))
    if box[3] + height <= size[1]:
        return left, box[3]
    if box[1] - height >= 0:
        return left, box[1] - height
    top = min(max(box[1], 0), max(size[1] - height, 0))
    if box[2] + width <= size[0]:
        return box[2], top
    if box[0] - width >= 0:
        return box[0] - width, top
    return left, max(size[1] - height, 0)
