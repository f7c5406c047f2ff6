"""Drawn faces for the synthetic copies of the official layouts.

Mouth, eyes and brows differ by expression, so that a model can learn the copy and an eye can check
it. Where the pictures lie, and in which tables, is each builder's choice.
"""

from pathlib import Path

from PIL import Image, ImageDraw

__all__ = ["draw_face", "save_face"]

SHAPES: dict[str, tuple[int, int, int, int]] = {
    "neutral": (0, 0, 2, 0),
    "happiness": (4, 3, 2, 0),
    "surprise": (0, 7, 4, -3),
    "sadness": (-4, 0, 1, 1),
    "anger": (-2, 2, 1, 3),
    "disgust": (-3, 1, 1, 2),
    "fear": (-1, 4, 4, -2),
    "contempt": (1, 0, 2, 1),
    "anxiety": (-1, 2, 3, -1),
    "helplessness": (-3, 0, 2, -2),
    "disappointment": (-2, 0, 1, 0),
}
"""Curve of the mouth, its opening, half height of the eyes and lowering of the brows.

In 48ths of the picture's side.
"""


def draw_face(label: str, seed: int = 0, size: int = 100) -> Image.Image:
    """A face that shows an expression.

    Args:
        label (`str`):
            One of the project's expressions.
        seed (`int`, *optional*, defaults to 0):
            Decides the colours; two seeds below 512,000 never give the same pixels.
        size (`int`, *optional*, defaults to 100):
            Side of the picture, pixels.

    Returns:
        `PIL.Image.Image`: Mode RGB, size x size.

    Example:

    ```python
    >>> from emo_llama.dataset_builders.synthetic import draw_face

    >>> draw_face("happiness").size
    (100, 100)
    ```
    """
    curve, opening, eyes, brows = SHAPES[label]
    scale = size / 48
    width = max(1, round(2 * scale))
    image = Image.new("RGB", (size, size), (40 + seed % 64, 60, 80))
    draw = ImageDraw.Draw(image)
    draw.ellipse(_at(scale, 5, 2, 43, 46), fill=(150 + seed // 64 % 80, 140, 120))
    for x in (16, 32):
        draw.ellipse(_at(scale, x - 4, 18 - eyes, x + 4, 18 + eyes), fill="white")
        draw.ellipse(_at(scale, x - 1, 17, x + 1, 19), fill="black")
        draw.line(_at(scale, x - 5, 11 + brows, x + 5, 11 + brows), fill=(30, 20, 10), width=width)
    draw.line(_at(scale, 24, 22, 24, 29), fill=(100 + seed // 5120 % 100, 80, 70), width=width)
    draw.line(_at(scale, 16, 36 - curve, 24, 36, 32, 36 - curve), fill=(60, 10, 10), width=width)
    if opening:
        draw.ellipse(_at(scale, 19, 36, 29, 36 + opening), fill=(60, 10, 10))
    return image


def _at(scale: float, *points: int) -> tuple[float, ...]:
    """Points of the 48-pixel drawing in pixels."""
    return tuple(scale * point for point in points)


def save_face(path: Path, label: str, seed: int = 0, size: int = 100) -> None:
    """Draws a face into a file, and makes the folders above it.

    Args:
        path (`Path`): The file; its suffix decides the format.
        label (`str`): One of the project's expressions.
        seed (`int`, *optional*, defaults to 0): As in [`draw_face`].
        size (`int`, *optional*, defaults to 100): Side of the picture, pixels.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_face(label, seed, size).save(path)
