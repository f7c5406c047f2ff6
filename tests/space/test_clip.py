"""The tab of one clip: its timeline, its record, and an end before its end."""

import base64
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from emo_llama import EmotionRecognizer
from emo_llama.dataset_builders.synthetic_clips import write_video
from emo_llama.loading import EMBEDDED_MODEL
from emo_llama.record_formats import write_records
from emo_llama.records import Face, FrameFace, Result
from emo_llama.space.clip import _Clip
from emo_llama.space.example_clips import write_example_clips
from emo_llama.space.timeline import Watched, find_peaks, show_timeline, thumbnails

LABELS = ("neutral", "happiness")
BOX = (2.0, 2.0, 30.0, 30.0)


def frames_of(*shares: float, step: float = 0.25) -> list[FrameFace]:
    """A person whose happiness takes these values; `None` stands for not seen."""
    return [
        FrameFace(n * step, BOX, LABELS[share > 0.5], {"neutral": 1 - share, "happiness": share})
        for n, share in enumerate(shares)
        if share is not None
    ]


def watched_of(path: str, *people: list[FrameFace], times: int = 8) -> Watched:
    """A clip of two seconds with these people."""
    faces = [
        Face(
            BOX,
            0.9,
            "happiness",
            {"neutral": 0.3, "happiness": 0.7},
            0.7,
            False,
            "It is <b>.",
            n,
            f,
        )
        for n, f in enumerate(people)
    ]
    result = Result(path, "video", faces=faces)
    return Watched(path, result, tuple(n * 0.25 for n in range(times)), 2.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a real face that moves through the picture."""
    with Image.open(EMBEDDED_MODEL.parent / "portrait.jpg") as picture:
        portrait = picture.convert("RGB")
    views = [portrait.crop((40 + n, 10, 400 + n, 370)).resize((160, 160)) for n in range(20)]
    path = tmp_path_factory.mktemp("clip") / "moving face.mp4"
    write_video(path, views)
    return path


def test_a_peak_is_the_surest_moment_of_each_stretch() -> None:
    frames = frames_of(0.1, 0.4, 0.6, 0.9, 0.8, 0.2, 0.7)
    peaks = [(peak.time, peak.label, peak.probability) for peak in find_peaks(frames)]
    assert peaks == [
        (0.0, "neutral", 0.9),
        (0.75, "happiness", 0.9),
        (1.25, "neutral", 0.8),
        (1.5, "happiness", 0.7),
    ]
    assert [peak.time for peak in find_peaks(frames, most=2)] == [0.0, 0.75]


def test_the_lane_shows_every_probability_and_holes() -> None:
    person = frames_of(0.25, 0.75, None, None, 1.0, 0.0)
    drawn = show_timeline(watched_of("a.mp4", person), LABELS)
    polygons = re.findall(r'<polygon points="([^"]*)"', drawn)
    assert len(polygons) == 4  # two stretches of two labels
    assert polygons[0] == "0.000,0.2500 0.375,0.7500 0.375,1.0000 0.000,1.0000"
    assert polygons[1] == "0.000,0.0000 0.375,0.0000 0.375,0.7500 0.000,0.2500"
    assert [float(t) for t in re.findall(r'data-time="([\d.]*)"', drawn)] == [0.0, 1.0, 1.25]


def test_a_person_of_one_frame_is_seen() -> None:
    drawn = show_timeline(watched_of("a.mp4", frames_of(None, None, 0.75)), LABELS)
    assert 'points="0.375,0.2500 0.625,0.2500 0.625,1.0000 0.375,1.0000"' not in drawn
    assert 'points="0.375,0.7500 0.625,0.7500 0.625,1.0000 0.375,1.0000"' in drawn


def test_what_is_unsure_is_called_so() -> None:
    watched = watched_of("a.mp4", frames_of(0.6, 0.9))
    assert "unsure" not in show_timeline(watched, LABELS, 0.5)
    strict = show_timeline(watched, LABELS, 0.8)
    assert "unsure, perhaps happiness 70%" in strict  # the person; the peak of 90% is sure
    assert strict.count("unsure") == 1
    assert watched.judged(0.8).faces[0].abstained and not watched.judged(0.7).faces[0].abstained


def test_nothing_in_the_page_comes_from_a_name_or_an_answer() -> None:
    watched = watched_of('x/"><img src=q>.mp4', frames_of(0.6))
    drawn = show_timeline(watched, ("neutral", "<script>"))
    assert "<script>" not in drawn and "<b>" not in drawn and "<img src=q>" not in drawn


def test_the_link_is_the_file_that_predict_writes(tmp_path: Path) -> None:
    watched = watched_of("folder/a clip.mp4", frames_of(0.6, 0.2), frames_of(0.1))
    drawn = show_timeline(watched, LABELS, 0.8)
    content = re.search(r'download="a clip.csv" href="data:text/csv[^,]*,([^"]*)"', drawn)
    record = replace(watched.judged(0.8), path="a clip.mp4").to_dict()
    write_records(tmp_path / "a.csv", "csv", [record], {"labels": LABELS})
    assert base64.b64decode(content[1]) == (tmp_path / "a.csv").read_bytes()


def test_a_clip_without_a_face_says_what_to_try() -> None:
    assert "No face found in 2.0 seconds" in show_timeline(watched_of("a.mp4"), LABELS)


def test_each_peak_has_its_face(recognizer: EmotionRecognizer, clip: Path) -> None:
    tab = _Clip(recognizer)
    *steps, (drawn, record, known, chosen) = tab.recognize(str(clip), 0.5)
    assert sum("Looking at second" in step[0] for step in steps) == 8
    assert 'value="1.8" max="2"' in steps[8][0]
    watched, faces = known
    peaks = find_peaks(record_frames(watched), 8)
    assert [time for _, time, _ in faces] == [peak.time for peak in peaks]
    assert drawn.count('<img src="data:image/jpeg') == len(peaks) + 1
    assert chosen.video == str(clip) and record == tab.show(known, 0.5)[1]
    assert list(thumbnails(watched)) == list(faces)


def record_frames(watched: Watched) -> list[FrameFace]:
    """The frames of the first person."""
    return watched.result.faces[0].frames


@pytest.fixture
def slow_frames(recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """The frames that are looked at, each for a moment."""
    looked: list[Image.Image] = []
    find = recognizer.find_faces

    def find_slowly(image: Image.Image) -> list:
        looked.append(image)
        time.sleep(0.3)
        return find(image)

    monkeypatch.setattr(recognizer, "find_faces", find_slowly)
    yield looked


def test_closing_stops_the_work(recognizer, clip: Path, slow_frames: list) -> None:
    steps = _Clip(recognizer).recognize(str(clip), 0.5)
    next(steps)
    next(steps)
    steps.close()
    assert len(slow_frames) == 1


def test_a_clip_gives_the_record_of_the_package(client: Client, recognizer, clip: Path) -> None:
    record = client.predict(handle_file(clip), 0.0, api_name="/clip")
    assert record == recognizer(clip).to_dict() | {"path": None}
    assert len(record["faces"][0]["frames"]) == 8


def test_the_threshold_reaches_the_record(client: Client, clip: Path) -> None:
    judged = client.predict(handle_file(clip), 1.0, api_name="/clip")
    assert [face["abstained"] for face in judged["faces"]] == [True]


def test_cancel_stops_the_work_on_the_server(
    client: Client, recognizer, clip: Path, slow_frames: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, watch = threading.Event(), recognizer.watch

    def watched(path: str) -> Iterator:
        try:
            return (yield from watch(path))
        finally:
            ended.set()

    monkeypatch.setattr(recognizer, "watch", watched)
    job = client.submit(handle_file(clip), 0.5, api_name="/clip")
    while not slow_frames:
        time.sleep(0.05)
    job.cancel()
    assert ended.wait(60)
    assert len(slow_frames) < 8


@pytest.mark.parametrize(
    "name, content, message",
    [
        (None, None, "There is no clip yet. Upload one"),
        ("clip.mp4", b"this is text", "found other content"),
        ("clip.mp4", b"\0\0\0\x18ftypmp42" + bytes(200), "cannot be read"),
    ],
)
def test_errors_say_what_to_do(client: Client, tmp_path: Path, name, content, message) -> None:
    file = None
    if name:
        (tmp_path / name).write_bytes(content)
        file = handle_file(tmp_path / name)
    with pytest.raises(AppError, match=message) as error:
        client.predict(file, 0.5, api_name="/clip")
    assert str(tmp_path) not in str(error.value)


def test_the_examples_are_clips_with_faces(tmp_path: Path) -> None:
    import av

    for path in write_example_clips(tmp_path).values():
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.frames) == ("h264", 40)


@pytest.mark.slow
def test_the_examples_show_something(tmp_path: Path) -> None:
    shipped = EmotionRecognizer.from_pretrained(device="cpu")
    portrait, drawn = write_example_clips(tmp_path).values()
    (person,) = shipped(portrait).faces
    happiness = [frame.probabilities["happiness"] for frame in person.frames]
    assert person.label == "happiness" and min(happiness) < 0.99 < max(happiness)
    assert len(shipped(drawn).faces) == 2
