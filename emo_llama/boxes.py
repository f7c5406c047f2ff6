"""Boxes: four numbers, xyxy, pixels of the image as displayed, and the geometry they need."""

from dataclasses import dataclass

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Framing:
    """How to get from a detector's box to the canonical crop of a face.

    Attributes:
        scale (`float`):
            Side of the crop over the longer side of the box.
        shift (`float`):
            How far the centre moves down, over the longer side of the box.
    """

    scale: float
    shift: float = 0.0

    def apply(self, box: Box) -> Box:
        """Frame one box.

        Args:
            box (`tuple[float, float, float, float]`):
                xyxy, pixels.

        Returns:
            `tuple[float, float, float, float]`: A square, xyxy, pixels; it may reach beyond the
            image.
        """
        side = max(box[2] - box[0], box[3] - box[1])
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2 + self.shift * side
        half = side * self.scale / 2
        return (x - half, y - half, x + half, y + half)


def area(box: Box) -> float:
    """Measure a box.

    Args:
        box (`tuple[float, float, float, float]`):
            xyxy.

    Returns:
        `float`: Square pixels; 0 for a box turned inside out.
    """
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def shared_area(a: Box, b: Box) -> float:
    """Measure what two boxes share.

    Args:
        a (`tuple[float, float, float, float]`):
            xyxy.
        b (`tuple[float, float, float, float]`):
            xyxy.

    Returns:
        `float`: Square pixels.
    """
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def intersection_over_union(a: Box, b: Box) -> float:
    """Measure how well two boxes agree.

    Args:
        a (`tuple[float, float, float, float]`):
            xyxy.
        b (`tuple[float, float, float, float]`):
            xyxy.

    Returns:
        `float`: Shared area over covered area, 0 to 1.

    Example:
    ```python
    >>> from emo_llama.boxes import intersection_over_union

    >>> intersection_over_union((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    ```
    """
    shared = shared_area(a, b)
    covered = area(a) + area(b) - shared
    return shared / covered if covered > 0 else 0.0


def overlap(a: Box, b: Box) -> float:
    """Measure how much of the smaller box lies in the other.

    Args:
        a (`tuple[float, float, float, float]`):
            xyxy.
        b (`tuple[float, float, float, float]`):
            xyxy.

    Returns:
        `float`: Shared area over the smaller area, 0 to 1.
    """
    smaller = min(area(a), area(b))
    return shared_area(a, b) / smaller if smaller > 0 else 0.0


def clip(box: Box, size: tuple[int, int]) -> Box:
    """Clip a box to an image, leaving it at least a pixel wide and high.

    Args:
        box (`tuple[float, float, float, float]`):
            xyxy.
        size (`tuple[int, int]`):
            Width and height of the image.

    Returns:
        `tuple[float, float, float, float]`: xyxy, floats.
    """
    width, height = map(float, size)
    x0, y0 = min(max(box[0], 0.0), width - 1), min(max(box[1], 0.0), height - 1)
    return (x0, y0, min(max(box[2], x0 + 1), width), min(max(box[3], y0 + 1), height))
