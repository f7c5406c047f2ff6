"""Following faces by the place of their boxes."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from emo_llama.faces import Detection, load_detector
from emo_llama.media import read_video
from emo_llama.modeling import EmoLlamaEncodings
from emo_llama.recognition.tracking import (
    FaceTracker,
    TrackedPerson,
    finish,
    follow_people,
    look_of,
)

PORTRAIT = Path(__file__).parents[2] / "emo_llama" / "assets" / "portrait.jpg"


def test_two_people_who_move_keep_their_numbers() -> None:
    tracker = FaceTracker()
    people = []
    for step in range(10):
        left, right = (step * 3, 0, step * 3 + 20, 20), (100 - step * 3, 5, 120 - step * 3, 25)
        order = [left, right] if step % 2 else [right, left]
        numbers = tracker.update(step / 4, order)
        people.append((numbers[order.index(left)], numbers[order.index(right)]))
    assert set(people) == {(1, 0)}


def test_who_was_away_for_long_is_a_new_person() -> None:
    tracker = FaceTracker(max_gap=1.0)
    box = (0, 0, 10, 10)
    assert tracker.update(0.0, [box]) == [0]
    assert tracker.update(0.9, []) == []
    assert tracker.update(1.0, [box]) == [0]
    assert tracker.update(2.5, [box]) == [1]


def test_one_box_goes_to_one_person() -> None:
    tracker = FaceTracker()
    tracker.update(0.0, [(0, 0, 10, 10)])
    assert sorted(tracker.update(0.1, [(0, 0, 10, 10), (1, 1, 11, 11)])) == [0, 1]


def test_far_apart_frames_are_matched_by_looks() -> None:
    tracker = FaceTracker()
    red, blue = (look_of(Image.new("RGB", (40, 40), c), (10, 10, 30, 30)) for c in ("red", "blue"))
    here, there = (0, 0, 10, 10), (50, 50, 60, 60)
    assert tracker.update(0.0, [here, there], [red, blue]) == [0, 1]
    assert tracker.update(10.0, [here, there], [blue, red]) == [1, 0]  # they changed places
    assert tracker.update(300.0, [(90, 0, 99, 9)], [red]) == [0]
    green = look_of(Image.new("RGB", (40, 40), "green"), (10, 10, 30, 30))
    assert tracker.update(310.0, [(90, 0, 99, 9)], [green]) == [2]  # the picture was cut


def test_the_best_view_shows_the_label() -> None:
    person = TrackedPerson()
    batch = EmoLlamaEncodings(landmarks=torch.arange(4.0)[:, None, None])  # (4, 1, 1)
    rows = [[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4]]
    for time, row in enumerate(rows):
        detection = Detection((time, 0, 1, 1), None, (2, 2, 4, 4))
        person.add(time, detection, np.array(row), batch.select(slice(time, time + 1)))
    for label, time in ((1, 2), (0, 0), (5, 0)):  # no frame is labelled 5: the surest
        seen, detection = person.best_view(label)
        assert (detection.box[0], seen.landmarks.tolist()) == (time, [[[time]]])
        assert seen.landmarks.untyped_storage().nbytes() == 4  # not the batch


def people_of_clip(path: Path, people: int) -> list[int]:
    """Frames of each person found in a clip of faces that wander slowly through the picture."""
    face = Image.open(PORTRAIT).convert("RGB").resize((220, 220))
    red, green, blue = face.transpose(Image.Transpose.FLIP_LEFT_RIGHT).split()
    faces = [face, Image.merge("RGB", (blue, green, red))][:people]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for second in range(600):
            frame = Image.new("RGB", (640, 480), "gray")
            for number, portrait in enumerate(faces):
                turn = 2 * np.pi * second / 97 + number * np.pi
                frame.paste(
                    portrait, (int(210 + 200 * np.cos(turn)), int(130 + 100 * np.sin(turn)))
                )
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    detector = load_detector("auto")

    def look(images, crops):
        encodings = EmoLlamaEncodings(face_mask=torch.ones(len(images), dtype=torch.bool))
        return np.ones((len(images), 2)) / 2, encodings

    found = finish(follow_people(read_video(path), detector.detect, look))
    return [len(person.seen) for person in found.values()]


@pytest.mark.slow
@pytest.mark.parametrize("people", [1, 2])
def test_people_of_a_long_clip_stay_who_they_are(tmp_path: Path, people: int) -> None:
    """Ten minutes: a frame every nine seconds, in which the faces move by their own size."""
    counts = people_of_clip(tmp_path / "clip.mp4", people)
    assert len(counts) == people
    assert max(counts) == 64
    assert min(counts) >= 20  # the detector does not know the second, of odd colours, everywhere
