import numpy as np
import pytest

from emo_llama.annotate.geometry import MEASURES, TERCILES, FaceGeometry, level, terciles


def face(lift=0.0, opening=0.05, lids=0.1, brows=0.3, width=0.8, turn=0.0) -> np.ndarray:
    """68 points of a drawn face whose size is 1, with the measures of the arguments."""
    points = np.zeros((68, 2))
    points[:17, 0] = np.linspace(-0.8, 0.8, 17)
    for start, x in ((36, -0.35), (42, 0.35)):
        corners = np.linspace(x - 0.15, x + 0.15, 4)
        points[start : start + 4, 0] = corners
        points[start + 4 : start + 6, 0] = corners[[2, 1]]
        points[[start + 1, start + 2], 1] = -lids / 2
        points[[start + 4, start + 5], 1] = lids / 2
    points[17:22] = np.stack([np.linspace(-0.55, -0.15, 5), np.full(5, -brows)], axis=1)
    points[22:27] = np.stack([np.linspace(0.15, 0.55, 5), np.full(5, -brows)], axis=1)
    points[33] = (0, 1)  # outer eye corners are 1 apart, eyes to nose is 1: the size is 1
    points[[2, 14, 30], 0] = (-0.6, 0.6, 0.6 * turn)
    points[[62, 66]] = [(0, 1.5 - opening / 2), (0, 1.5 + opening / 2)]
    points[[48, 54]] = [(-width / 2, 1.5 - lift), (width / 2, 1.5 - lift)]
    return points


def test_measures_of_a_face_that_is_known():
    measured = FaceGeometry.from_landmarks(face(0.07, 0.2, 0.12, 0.31, 0.9, 0.25))
    assert measured.mouth_corner_lift == pytest.approx(0.07)
    assert measured.mouth_opening == pytest.approx(0.2)
    assert measured.eye_opening == pytest.approx(0.12)
    assert measured.brow_height == pytest.approx(0.31)
    assert measured.mouth_width == pytest.approx(0.9)
    assert measured.turn == pytest.approx(0.25)


@pytest.mark.parametrize("degrees", [-40, 10, 75])
def test_measures_do_not_depend_on_place_size_and_roll(degrees):
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = face(0.04, 0.2, 0.12)
    moved = 37.5 * points @ rotation.T + [12, -400]
    before, after = FaceGeometry.from_landmarks(points), FaceGeometry.from_landmarks(moved)
    for name in MEASURES:
        assert getattr(after, name) == pytest.approx(getattr(before, name))


def test_a_head_turned_to_the_side():
    assert FaceGeometry.from_landmarks(face(turn=0.9)).turned
    assert not FaceGeometry.from_landmarks(face(turn=0.3)).turned


@pytest.mark.parametrize("points", [np.zeros((68, 2)), face() * [1, -1]])
def test_points_that_form_no_face(points):
    assert FaceGeometry.from_landmarks(points) is None


def test_levels():
    for name, (low, high) in TERCILES.items():
        values = (low - 0.01, low, high, high + 0.01)
        assert [level(name, value) for value in values] == [-1, 0, 0, 1]
    assert tuple(TERCILES) == MEASURES


def test_terciles_split_many_faces_in_thirds():
    faces = np.stack([face(lift=lift) for lift in np.linspace(-0.1, 0.2, 31)] + [face(turn=0.9)])
    low, high = terciles(faces)["mouth_corner_lift"]
    assert (low, high) == (pytest.approx(0.0), pytest.approx(0.1))
