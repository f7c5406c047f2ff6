"""Follows faces through the sampled frames of a video, by the place of their boxes alone.

Decides which faces of two frames are the same person, and what is kept of each. It looks at no
pixels: whoever leaves and comes back elsewhere is a new person.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from emo_llama.boxes import Box, intersection_over_union
from emo_llama.faces import Detection
from emo_llama.modeling.media_emo_llama import VideoFrame


@dataclass
class _Track:
    """One person: number, last box, and the time it was seen."""

    number: int
    box: Box
    time: float


class FaceTracker:
    """Gives each person a number.

    Args:
        min_overlap (`float`, *optional*, defaults to 0.2):
            Intersection over union that two boxes of one person have at least. Sampled frames are
            a fraction of a second apart, so that it is low.
        max_gap (`float`, *optional*, defaults to 2.0):
            Seconds after which a person who was not seen is given up.

    Example:
    ```python
    >>> from emo_llama.recognition.tracking import FaceTracker

    >>> tracker = FaceTracker()
    >>> tracker.update(0.0, [(0, 0, 10, 10), (50, 0, 60, 10)])
    [0, 1]
    >>> tracker.update(0.5, [(51, 0, 61, 10), (90, 0, 99, 9), (1, 0, 11, 10)])
    [1, 2, 0]
    ```
    """

    def __init__(self, min_overlap: float = 0.2, max_gap: float = 2.0) -> None:
        self.min_overlap = min_overlap
        self.max_gap = max_gap
        self._tracks: list[_Track] = []
        self._next = 0

    def update(self, time: float, boxes: Sequence[Box]) -> list[int]:
        """Take in the faces of the next frame.

        Args:
            time (`float`):
                Seconds; later than that of the call before.
            boxes (`Sequence[tuple[float, float, float, float]]`):
                The faces of the frame, xyxy, pixels.

        Returns:
            `list[int]`: The person's number for each box.
        """
        self._tracks = [track for track in self._tracks if time - track.time <= self.max_gap]
        pairs = sorted(
            (
                (intersection_over_union(track.box, box), track, index)
                for track in self._tracks
                for index, box in enumerate(boxes)
            ),
            key=lambda pair: -pair[0],
        )
        owners: dict[int, _Track] = {}
        taken: set[int] = set()
        for agreement, track, index in pairs:
            if agreement >= self.min_overlap and index not in owners and track.number not in taken:
                owners[index] = track
                taken.add(track.number)
        return [self._claim(owners.get(index), box, time) for index, box in enumerate(boxes)]

    def _claim(self, track: _Track | None, box: Box, time: float) -> int:
        """Move a track to its new box, or open one."""
        if track is None:
            track = _Track(self._next, box, time)
            self._next += 1
            self._tracks.append(track)
        track.box, track.time = box, time
        return track.number


class TrackedPerson:
    """What was seen of one person: every box and row of probabilities, and one picture a label.

    Attributes:
        seen (`list[tuple[float, tuple, np.ndarray]]`):
            Seconds, box and probabilities of each appearance.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[float, Box, np.ndarray]] = []
        self._views: dict[int, tuple[float, Image.Image, Detection]] = {}

    def add(self, frame: VideoFrame, detection: Detection, row: np.ndarray) -> None:
        """Take in one appearance.

        Args:
            frame (`VideoFrame`):
                The frame.
            detection (`Detection`):
                The face in it.
            row (`np.ndarray` of shape (n_labels,)):
                Its probabilities.
        """
        self.seen.append((frame.time, detection.box, row))
        label = int(row.argmax())
        if label not in self._views or row[label] > self._views[label][0]:
            self._views[label] = (float(row[label]), frame.image, detection)

    def best_view(self, label: int) -> tuple[Image.Image, Detection]:
        """Choose the frame that shows an expression best.

        Args:
            label (`int`):
                The expression, an index into the rows.

        Returns:
            `tuple[PIL.Image.Image, Detection]`: The surest frame with this label; where none has
            it, the surest of all.
        """
        view = self._views.get(label) or max(self._views.values(), key=lambda v: v[0])
        return view[1], view[2]
