"""Follows faces through the sampled frames of a video, by where they are and what they look like.

Decides which faces of two frames are the same person, and what is kept of each. Frames a fraction
of a second apart are matched by place. In a long video they are many seconds apart, and place tells
nothing: there the colours of head and hair decide. They are coarse: two people of the same colours
who are never in one frame are taken for one.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from emo_llama.boxes import Box, clip, intersection_over_union
from emo_llama.faces import Detection
from emo_llama.modeling import EmoLlamaEncodings
from emo_llama.modeling.media_emo_llama import VideoFrame

T = TypeVar("T")

FRAMES_AT_ONCE = 16  # frames of a video held in memory,
PIXELS_AT_ONCE = 64_000_000  # or as many as have so many pixels
FACES_AT_ONCE = 32  # that are encoded together

# Bhattacharyya distance of two looks. Of 5 clips of one person each, 95% of the pairs of faces are
# below 0.10 and all below 0.23; of 298 pairs of strangers 95% are above 0.30, the median is 0.59.
SAME_LOOK = 0.2
LOOK_WEIGHT = 2.0  # against the overlap, 0 to 1, where several people come into question


def look_of(image: Image.Image, box: Box) -> np.ndarray:
    """Describe a head by its colours.

    Args:
        image (`PIL.Image.Image`):
            The frame, RGB.
        box (`tuple[float, float, float, float]`):
            The face, xyxy, pixels.

    Returns:
        `np.ndarray` of shape (1536,), float32: Square roots of the shares of 512 colours in the
        upper, middle and lower third of the box grown by 0.6; of unit length.
    """
    dx, dy = 0.3 * (box[2] - box[0]), 0.3 * (box[3] - box[1])
    grown = (box[0] - dx, box[1] - dy, box[2] + dx, box[3] + dy)
    left, top, right, bottom = clip(grown, image.size)
    head = image.crop((int(left), int(top), int(right) + 1, int(bottom) + 1))
    pixels = np.asarray(head.resize((64, 63)), dtype=np.int32) // 32  # (63, 64, 3), 8 steps
    colours = (pixels @ np.array([64, 8, 1])).reshape(3, -1)  # (thirds, pixels)
    counts = np.concatenate([np.bincount(third, minlength=512) for third in colours])
    return np.sqrt(counts / counts.sum()).astype(np.float32)


@dataclass
class _Track:
    """One person: number, last box, when it was seen, and what it looked like then."""

    number: int
    box: Box
    time: float
    look: np.ndarray | None


class FaceTracker:
    """Gives each person a number.

    Args:
        min_overlap (`float`, *optional*, defaults to 0.2):
            Intersection over union that two boxes of one person have at least. Sampled frames are
            a fraction of a second apart, so that it is low.
        max_gap (`float`, *optional*, defaults to 2.0):
            Seconds after which a person is no longer known by place, only by looks, if at all.

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

    def update(
        self, time: float, boxes: Sequence[Box], looks: Sequence[np.ndarray] | None = None
    ) -> list[int]:
        """Take in the faces of the next frame.

        Args:
            time (`float`):
                Seconds; later than that of the call before.
            boxes (`Sequence[tuple[float, float, float, float]]`):
                The faces of the frame, xyxy, pixels.
            looks (`Sequence[np.ndarray]`, *optional*):
                What [`look_of`] says of each.

        Returns:
            `list[int]`: The person's number for each box.
        """
        known: list[np.ndarray | None] = list(looks) if looks else [None] * len(boxes)
        pairs = [
            (*self._agreement(track, time, box, look), track, index)
            for track in self._tracks
            for index, (box, look) in enumerate(zip(boxes, known, strict=True))
        ]
        owners: dict[int, _Track] = {}
        taken: set[int] = set()
        for same, _, track, index in sorted(pairs, key=lambda pair: -pair[1]):
            if same and index not in owners and track.number not in taken:
                owners[index] = track
                taken.add(track.number)
        return [
            self._claim(owners.get(index), box, time, look)
            for index, (box, look) in enumerate(zip(boxes, known, strict=True))
        ]

    def _agreement(
        self, track: _Track, time: float, box: Box, look: np.ndarray | None
    ) -> tuple[bool, float]:
        """Whether a face may be a person, and how well it fits."""
        place = intersection_over_union(track.box, box)
        same = place >= self.min_overlap and time - track.time <= self.max_gap
        if look is None or track.look is None:
            return same, place
        distance = 1.0 - float(look @ track.look)
        return same or distance <= SAME_LOOK, place - LOOK_WEIGHT * distance

    def _claim(self, track: _Track | None, box: Box, time: float, look: np.ndarray | None) -> int:
        """Move a track to its new box, or open one."""
        if track is None:
            track = _Track(self._next, box, time, look)
            self._next += 1
            self._tracks.append(track)
        track.box, track.time, track.look = box, time, look
        return track.number


class TrackedPerson:
    """What was seen of one person: every box and row of probabilities, and one view a label.

    Attributes:
        seen (`list[tuple[float, tuple, np.ndarray]]`):
            Seconds, box and probabilities of each appearance.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[float, Box, np.ndarray]] = []
        self._views: dict[int, tuple[float, EmoLlamaEncodings, Detection]] = {}

    def add(
        self, time: float, detection: Detection, row: np.ndarray, encodings: EmoLlamaEncodings
    ) -> None:
        """Take in one appearance.

        Args:
            time (`float`):
                Seconds.
            detection (`Detection`):
                The face in the frame.
            row (`np.ndarray` of shape (n_labels,)):
                Its probabilities.
            encodings ([`~emo_llama.modeling.EmoLlamaEncodings`]):
                The one row that they come from.
        """
        self.seen.append((time, detection.box, row))
        label = int(row.argmax())
        if label not in self._views or row[label] > self._views[label][0]:
            # a copy: a view would keep the rows of its whole batch in memory
            self._views[label] = (float(row[label]), encodings.select([0]), detection)

    def best_view(self, label: int) -> tuple[EmoLlamaEncodings, Detection]:
        """Choose the frame that shows an expression best.

        Args:
            label (`int`):
                The expression, an index into the rows.

        Returns:
            `tuple[EmoLlamaEncodings, Detection]`: One row, of the surest frame with this label;
            where none has it, of the surest of all.
        """
        view = self._views.get(label) or max(self._views.values(), key=lambda v: v[0])
        return view[1], view[2]


def follow_people(
    frames: Iterable[VideoFrame],
    find_faces: Callable[[Image.Image], list[Detection]],
    look: Callable[[list[Image.Image], list[Box]], tuple[np.ndarray, EmoLlamaEncodings]],
) -> Generator[VideoFrame, None, dict[int, TrackedPerson]]:
    """Follow each person through a video; a fixed number of frames is held at a time.

    Closing the generator ends the work; [`finish`] gives what it returns.

    Args:
        frames (`Iterable[VideoFrame]`):
            The frames in order of time.
        find_faces (`Callable`):
            Gives the faces of a frame.
        look (`Callable`):
            Gives the probabilities (n, n_labels) of n frames with a crop each, and their encodings.

    Yields:
        `VideoFrame`: Each frame, once its faces are found.

    Returns:
        `dict[int, TrackedPerson]`: By number, in order of appearance.
    """
    tracker = FaceTracker()
    people: dict[int, TrackedPerson] = defaultdict(TrackedPerson)
    for chunk in chunks(frames):
        seen: list[tuple[int, VideoFrame, Detection]] = []
        for frame in chunk:
            found = find_faces(frame.image)
            looks = [look_of(frame.image, d.box) for d in found]
            numbers = tracker.update(frame.time, [d.box for d in found], looks)
            seen += [(n, frame, d) for n, d in zip(numbers, found, strict=True)]
            yield frame
        for start in range(0, len(seen), FACES_AT_ONCE):
            some = seen[start : start + FACES_AT_ONCE]
            rows, encodings = look([f.image for _, f, _ in some], [d.crop for _, _, d in some])
            for at, (number, frame, detection) in enumerate(some):
                shown = encodings.select(slice(at, at + 1))
                people[number].add(frame.time, detection, rows[at], shown)
    return dict(sorted(people.items()))


def chunks(frames: Iterable[VideoFrame]) -> Iterator[list[VideoFrame]]:
    """Group frames so that they fit into memory.

    Args:
        frames (`Iterable[VideoFrame]`):
            Of a video.

    Yields:
        `list[VideoFrame]`: The next ones.
    """
    chunk: list[VideoFrame] = []
    pixels = 0
    for frame in frames:
        chunk.append(frame)
        pixels += frame.image.width * frame.image.height
        if len(chunk) == FRAMES_AT_ONCE or pixels >= PIXELS_AT_ONCE:
            yield chunk
            chunk, pixels = [], 0
    if chunk:
        yield chunk


def finish(steps: Generator[Any, None, T]) -> T:
    """Run a generator to its end.

    Args:
        steps (`Generator`):
            What it yields is passed over.

    Returns:
        `Any`: What it returns.
    """
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
