"""What a visitor sees of a clip: a lane a person with its probabilities over time, and its peaks.

It is plain HTML whose pictures and table lie in it: nothing of a visitor's clip is written to a
file. A lane is a slider and a peak a button, so that both can be reached by keyboard; they move the
player of the page, and the player moves them.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby, pairwise
from pathlib import Path
from statistics import median

import gradio as gr
from PIL import Image

from emo_llama.boxes import Box, clip
from emo_llama.csv_rows import write_csv_records
from emo_llama.media import read_video
from emo_llama.overlay import label_colour
from emo_llama.records import Face, FrameFace, Result
from emo_llama.space.view import data_uri, hint, verdict

__all__ = ["Peak", "Watched", "find_peaks", "show_timeline", "thumbnails", "timeline_view"]

MOST_PEAKS = 8  # of a person,
MOST_THUMBNAILS = 120  # and fewer where there are many people
THUMBNAIL = 96
"""Side of a face, pixels."""
GAP = 1.6
"""How many steps from frame to frame a person is away before the lane shows a hole."""

# `element` and `document` are the browser's. What a player tells does not rise, so that it is
# caught on its way down.
SCRIPT = """
const player = () => document.querySelector('#clip-input video');
const show = (time) => element.querySelectorAll('.clip-lane').forEach((lane) => {
  const end = Number(lane.dataset.duration);
  const now = Math.min(Math.max(time, 0), end);
  lane.querySelector('.clip-now').style.left = `${(100 * now) / end}%`;
  lane.setAttribute('aria-valuenow', now.toFixed(2));
  lane.setAttribute('aria-valuetext', `${now.toFixed(1)} seconds`);
});
const seek = (time) => {
  const video = player();
  if (video) video.currentTime = Math.max(time, 0);
  show(time);
};
element.addEventListener('click', (event) => {
  if (event.target.closest('.clip-talk')) document.getElementById('chat-button')?.click();
  const peak = event.target.closest('[data-time]');
  if (peak) return seek(Number(peak.dataset.time));
  const lane = event.target.closest('.clip-lane');
  if (!lane) return;
  const place = lane.getBoundingClientRect();
  seek(Number(lane.dataset.duration) * (event.clientX - place.left) / place.width);
});
element.addEventListener('keydown', (event) => {
  const lane = event.target.closest('.clip-lane');
  if (!lane) return;
  const now = Number(lane.getAttribute('aria-valuenow')), end = Number(lane.dataset.duration);
  const to = { ArrowLeft: now - 0.25, ArrowDown: now - 0.25, ArrowRight: now + 0.25,
    ArrowUp: now + 0.25, PageDown: now - 2, PageUp: now + 2, Home: 0, End: end }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  seek(Math.min(to, end));
});
document.addEventListener('timeupdate', (event) => {
  if (event.target === player()) show(event.target.currentTime);
}, true);
"""


@dataclass(frozen=True)
class Watched:
    """What was recognised in one clip; it lives in the session of one visitor.

    Attributes:
        path (`str`):
            The clip.
        result ([`~emo_llama.records.Result`]):
            Its people.
        times (`tuple[float, ...]`):
            Seconds of the frames that were looked at.
        duration (`float`):
            Seconds of the whole clip.
    """

    path: str
    result: Result
    times: tuple[float, ...]
    duration: float

    def judged(self, threshold: float) -> Result:
        """Abstain where the likeliest label is less probable than a threshold.

        Args:
            threshold (`float`): A probability.

        Returns:
            [`~emo_llama.records.Result`]: Named like the visitor's own file, with other
            `abstained`.
        """
        faces = [replace(f, abstained=f.confidence < threshold) for f in self.result.faces]
        return replace(self.result, path=Path(self.path).name, faces=faces)

    @property
    def step(self) -> float:
        """Seconds from frame to frame."""
        return median(b - a for a, b in pairwise(self.times)) if len(self.times) > 1 else 0.25


@dataclass(frozen=True)
class Peak:
    """The moment at which an expression is surest, of a stretch of time in which it leads.

    Attributes:
        time (`float`):
            Seconds.
        label (`str`):
            The expression.
        probability (`float`):
            In [0, 1].
        box (`tuple[float, float, float, float]`):
            The face, xyxy, pixels.
    """

    time: float
    label: str
    probability: float
    box: Box


def find_peaks(frames: Sequence[FrameFace], most: int = MOST_PEAKS) -> list[Peak]:
    """The peaks of one person.

    Args:
        frames (`Sequence[FrameFace]`): In order of time.
        most (`int`, *optional*): How many; those with the highest probability.

    Returns:
        `list[Peak]`: In order of time.
    """
    found = []
    for label, stretch in groupby(frames, key=lambda frame: frame.label):
        best = max(stretch, key=lambda frame: frame.probabilities[label])
        found.append(Peak(best.time, label, best.probabilities[label], best.box))
    surest = sorted(found, key=lambda peak: -peak.probability)[:most]
    return sorted(surest, key=lambda peak: peak.time)


def peaks_of(watched: Watched) -> list[list[Peak]]:
    """The peaks of each person; fewer of each where there are many people.

    Args:
        watched ([`Watched`]): The clip.

    Returns:
        `list[list[Peak]]`: In the order of its people.
    """
    people = watched.result.faces
    most = max(1, min(MOST_PEAKS, MOST_THUMBNAILS // max(len(people), 1)))
    return [find_peaks(person.frames or (), most) for person in people]


def thumbnails(watched: Watched) -> Iterator[tuple[int, float, str]]:
    """Cut out each person's face at its peaks, and in the frame that its record names.

    Args:
        watched ([`Watched`]): The clip.

    Yields:
        `tuple[int, float, str]`: The person's place, seconds, and a picture as an address.
    """
    wanted: dict[float, list[tuple[int, Box]]] = {}
    for place, peaks in enumerate(peaks_of(watched)):
        for peak in peaks:
            wanted.setdefault(peak.time, []).append((place, peak.box))
    for frame in read_video(watched.path):
        for place, box in wanted.pop(frame.time, ()):
            yield place, frame.time, data_uri(_head(frame.image, box))
        if not wanted:
            return


def _head(image: Image.Image, box: Box) -> Image.Image:
    """A face with a little around it."""
    dx, dy = 0.15 * (box[2] - box[0]), 0.15 * (box[3] - box[1])
    grown = (box[0] - dx, box[1] - dy, box[2] + dx, box[3] + dy)
    left, top, right, bottom = map(round, clip(grown, image.size))
    head = image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    head.thumbnail((THUMBNAIL, THUMBNAIL))
    return head


def timeline_view(text: str) -> gr.HTML:
    """Add the place of the timeline.

    Args:
        text (`str`): What it says while there is nothing to show.

    Returns:
        `gradio.HTML`: The component.
    """
    return gr.HTML(
        hint(text),
        elem_id="clip-result",
        elem_classes="face-place",
        js_on_load=SCRIPT,
        apply_default_css=False,
        min_height=120,
    )


def show_timeline(
    watched: Watched,
    labels: Sequence[str],
    threshold: float = 0.0,
    faces: Sequence[tuple[int, float, str]] = (),
) -> str:
    """Draw the timeline of a clip.

    Args:
        watched ([`Watched`]): The clip.
        labels (`Sequence[str]`): Those of the model.
        threshold (`float`, *optional*, defaults to 0.0): Below it there is no verdict.
        faces (`Sequence[tuple[int, float, str]]`, *optional*): As [`thumbnails`] gives them.

    Returns:
        `str`: HTML.
    """
    result = watched.judged(threshold)
    count = len(result.faces)
    said = f"{count} {'person' if count == 1 else 'people'} in {watched.duration:.1f} seconds"
    if not count:
        return hint(
            f"No face found in {watched.duration:.1f} seconds. Try a clip in which a face is "
            "larger and turned to the camera."
        )
    pictures = {(place, time): address for place, time, address in faces}
    people = "".join(
        _person(place, person, peaks, watched, threshold, pictures)
        for place, (person, peaks) in enumerate(zip(result.faces, peaks_of(watched), strict=True))
    )
    return (
        f'<section class="clip-view"><div class="clip-top"><h2>Timeline</h2>'
        f'<p role="status">{said}, {len(watched.times)} frames looked at.</p>'
        f'<button type="button" class="face-talk clip-talk">Talk about it</button>'
        f"{csv_link(result, labels)}</div>{_legend(labels)}{people}</section>"
    )


def csv_link(result: Result, labels: Sequence[str]) -> str:
    """A link that saves the record as the file that `predict --format csv` writes.

    Args:
        result ([`~emo_llama.records.Result`]): What was recognised.
        labels (`Sequence[str]`): Those of the model.

    Returns:
        `str`: HTML; the file lies in the link.
    """
    stream = io.StringIO(newline="")
    write_csv_records(stream, [result.to_dict()], labels)
    content = base64.b64encode(stream.getvalue().encode()).decode()
    name = escape(f"{Path(result.path or 'clip').stem}.csv")
    return (
        f'<a class="face-talk clip-csv" download="{name}" '
        f'href="data:text/csv;charset=utf-8;base64,{content}">Download CSV</a>'
    )


def _legend(labels: Sequence[str]) -> str:
    """Which colour is which label."""
    items = "".join(
        f'<li><span style="--face:{label_colour(label)}"></span>{escape(label)}</li>'
        for label in labels
    )
    return f'<ul class="clip-legend" aria-label="Colours">{items}</ul>'


def _person(
    place: int,
    person: Face,
    peaks: Sequence[Peak],
    watched: Watched,
    threshold: float,
    pictures: dict[tuple[int, float], str],
) -> str:
    """One person: how they look on the whole, the lane, and the peaks."""
    best = max(peaks, key=lambda peak: (peak.label == person.label, peak.probability))
    head = _picture(pictures.get((place, best.time)))
    frames = person.frames or []
    said = verdict(person.label, person.confidence, person.abstained)
    text = f"<p>{escape(person.text)}</p>" if person.text else ""
    items = "".join(_item(p, pictures.get((place, p.time)), threshold) for p in peaks)
    return (
        f'<section class="face-card clip-person" style="--face:{label_colour(person.label)}">'
        f'<div class="face-head">{head}<h3>Person {place + 1}, in {len(frames)} frames<br>'
        f"<strong>{said}</strong></h3></div>{text}"
        f"{_lane(place, frames, peaks, watched)}"
        f'<h4>Peaks</h4><ol class="clip-peaks">{items}</ol></section>'
    )


def _item(peak: Peak, picture: str | None, threshold: float) -> str:
    """A peak as a button."""
    said = verdict(peak.label, peak.probability, peak.probability < threshold)
    return (
        f'<li><button type="button" data-time="{peak.time:.3f}" class="clip-peak" '
        f'style="--face:{label_colour(peak.label)}" '
        f'aria-label="Go to {peak.time:.1f} seconds: {said}">'
        f"{_picture(picture)}<span>{peak.time:.1f} s</span>"
        f"<strong>{said}</strong></button></li>"
    )


def _picture(address: str | None) -> str:
    return f'<img src="{address}" alt="">' if address else ""


def _lane(place: int, frames: Sequence[FrameFace], peaks: Sequence[Peak], watched: Watched) -> str:
    """The probabilities over time as stacked areas, to be clicked."""
    end = max(watched.duration, 0.001)
    areas = "".join(_areas(stretch, watched.step, end) for stretch in _stretches(frames, watched))
    marks = "".join(
        f'<span class="clip-mark" style="left:{peak.time / end:.3%}"></span>' for peak in peaks
    )
    return (
        f'<div class="clip-lane" role="slider" tabindex="0" data-duration="{end:.3f}" '
        f'aria-label="Person {place + 1}: time in the clip" aria-valuemin="0" '
        f'aria-valuemax="{end:.2f}" aria-valuenow="0" aria-valuetext="0 seconds">'
        f'<svg viewBox="0 0 {end:.3f} 1" preserveAspectRatio="none" aria-hidden="true">{areas}'
        f'</svg>{marks}<span class="clip-now"></span></div>'
        f'<div class="clip-axis" aria-hidden="true"><span>0 s</span><span>{end / 2:.1f} s</span>'
        f"<span>{end:.1f} s</span></div>"
    )


def _stretches(frames: Sequence[FrameFace], watched: Watched) -> Iterator[list[FrameFace]]:
    """The times in which a person is seen without a hole."""
    stretch: list[FrameFace] = []
    for frame in frames:
        if stretch and frame.time - stretch[-1].time > GAP * watched.step:
            yield stretch
            stretch = []
        stretch.append(frame)
    if stretch:
        yield stretch


def _areas(stretch: Sequence[FrameFace], step: float, end: float) -> str:
    """One area a label, on top of those before it; each frame stands for the time around it."""
    times = [frame.time for frame in stretch]
    times[0], times[-1] = max(0.0, times[0] - step / 2), min(end, times[-1] + step / 2)
    if len(times) == 1:
        times = [max(0.0, stretch[0].time - step / 2), times[0]]
        stretch = [stretch[0], stretch[0]]
    floor = [1.0] * len(times)
    areas = []
    for label in stretch[0].probabilities:
        top = [y - frame.probabilities[label] for y, frame in zip(floor, stretch, strict=True)]
        edge = [*zip(times, top, strict=True), *reversed(list(zip(times, floor, strict=True)))]
        points = " ".join(f"{x:.3f},{max(y, 0.0):.4f}" for x, y in edge)
        areas.append(f'<polygon points="{points}" fill="{label_colour(label)}"/>')
        floor = top
    return "".join(areas)
