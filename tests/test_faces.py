"""Finding faces: the bundled portrait, and pictures without any."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emo_llama import faces, mediapipe_graphs
from emo_llama.boxes import Framing, clip, intersection_over_union, overlap
from emo_llama.errors import MissingDependencyError, UsageError
from emo_llama.faces import CascadeDetector, Detection, load_detector, merge_detections

PORTRAIT = Path(__file__).parents[1] / "emo_llama" / "assets" / "portrait.jpg"
FACE = (176.0, 75.0, 276.0, 178.0)  # where a viewer sees it

needs_mediapipe = pytest.mark.skipif(
    find_spec("mediapipe") is None, reason="mediapipe has no wheels for this Python"
)


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.open(PORTRAIT).convert("RGB")


@pytest.fixture(scope="module")
def mediapipe_detector() -> faces.FaceDetector:
    return load_detector("mediapipe")


@needs_mediapipe
def test_mediapipe_finds_the_portrait_and_nothing_else(mediapipe_detector, portrait) -> None:
    found = mediapipe_detector.detect(portrait)
    assert len(found) == 1
    assert intersection_over_union(found[0].box, FACE) > 0.7
    assert 0.8 < found[0].score <= 1.0
    assert overlap(found[0].box, found[0].crop) > 0.95


@needs_mediapipe
def test_small_faces_of_a_group_are_found_on_tiles(mediapipe_detector, portrait) -> None:
    head = portrait.crop((120, 20, 330, 230)).resize((120, 120))
    group = Image.new("RGB", (1400, 700), (90, 120, 90))
    places = [(x, y) for y in (40, 500) for x in (100, 500, 900, 1200)]
    for place in places:
        group.paste(head, place)
    found = mediapipe_detector.detect(group)
    assert len(found) == len(places)


@needs_mediapipe
def test_boxes_fit_a_picture_that_is_seen_smaller(
    mediapipe_detector, portrait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "MAX_SIDE", 200)
    (found,) = mediapipe_detector.detect(portrait)
    assert intersection_over_union(found.box, FACE) > 0.7


@needs_mediapipe
@pytest.mark.slow
def test_a_side_that_mediapipe_cannot_count_does_not_end_the_process(mediapipe_detector) -> None:
    assert mediapipe_detector.detect(Image.new("RGB", (33_000, 330), "white")) == []


@needs_mediapipe
@pytest.mark.parametrize("size", [(300, 200), (1300, 700), (40, 30), (1, 1)])
def test_a_landscape_has_no_faces(mediapipe_detector, size: tuple[int, int]) -> None:
    ramp = np.linspace(0, 255, size[0], dtype=np.uint8)
    sky = np.broadcast_to(ramp[None, :, None], (size[1], size[0], 3))
    assert mediapipe_detector.detect(Image.fromarray(np.ascontiguousarray(sky))) == []


def test_the_cascade_finds_the_portrait(portrait) -> None:
    found = CascadeDetector().detect(portrait)
    assert len(found) == 1
    assert intersection_over_union(found[0].box, FACE) > 0.6
    assert found[0].score is None


def test_the_cascade_leaves_tiny_pictures_alone() -> None:
    assert CascadeDetector().detect(Image.new("RGB", (30, 200))) == []


@needs_mediapipe
def test_mesh_landmarks_lie_where_they_should(portrait) -> None:
    points = faces.mesh_landmarks(portrait.crop((150, 40, 300, 190)))
    assert points.shape == (68, 2)
    assert points.dtype == np.float32
    assert np.abs(points).max() < 1.1
    eyes, mouth, chin = points[36:48], points[48:68], points[8]
    assert eyes[:, 1].max() < mouth[:, 1].min() < chin[1]
    assert points[0, 0] < points[36:42, 0].mean() < points[42:48, 0].mean() < points[16, 0]


@needs_mediapipe
def test_mesh_landmarks_of_no_face() -> None:
    assert faces.mesh_landmarks(Image.new("L", (48, 48), 128)) is None


def test_auto_falls_back_to_the_cascade(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise MissingDependencyError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(mediapipe_graphs, "_mediapipe_solutions", broken)
    assert isinstance(load_detector("auto"), CascadeDetector)
    if find_spec("mediapipe"):
        with pytest.raises(MissingDependencyError):
            load_detector("mediapipe")
    monkeypatch.setattr(faces, "find_spec", lambda name: None)
    assert isinstance(load_detector("auto"), CascadeDetector)


def test_detector_names() -> None:
    assert load_detector("none") is None
    with pytest.raises(UsageError, match="'haar'"):
        load_detector("haar")


def test_merging_keeps_the_best_of_each_group() -> None:
    def at(box: tuple[float, ...], score: float) -> Detection:
        return Detection(box, score, box)

    a, b = at((0, 0, 10, 10), 0.6), at((1, 1, 11, 11), 0.9)
    inner, other = at((2, 2, 6, 6), 0.7), at((50, 50, 90, 90), 0.5)
    assert merge_detections([a, b, inner, other]) == [other, b]


def test_box_geometry() -> None:
    assert Framing(scale=2.0, shift=0.5).apply((0, 0, 10, 20)) == (-15, 0, 25, 40)
    assert clip((-5, 2, 300, 4), (20, 10)) == (0, 2, 20, 4)
    assert clip((50, 50, 60, 60), (20, 10)) == (19, 9, 20, 10)
    assert intersection_over_union((0, 0, 1, 1), (2, 2, 3, 3)) == 0
    assert overlap((0, 0, 4, 4), (1, 1, 2, 2)) == 1
