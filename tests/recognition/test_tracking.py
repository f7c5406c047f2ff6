"""Following faces by the place of their boxes."""

import numpy as np
from PIL import Image

from emo_llama.faces import Detection
from emo_llama.modeling.media_emo_llama import VideoFrame
from emo_llama.recognition.tracking import FaceTracker, TrackedPerson


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


def test_the_best_view_shows_the_label() -> None:
    person = TrackedPerson()
    rows = [[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4]]
    for time, row in enumerate(rows):
        frame = VideoFrame(float(time), Image.new("L", (1, 1), time))
        person.add(frame, Detection((time, 0, 1, 1), None, (0, 0, 1, 1)), np.array(row))
    assert person.best_view(1)[1].box[0] == 2
    assert person.best_view(0)[1].box[0] == 0
    assert person.best_view(5)[1].box[0] == 0  # no frame is labelled so: the surest
