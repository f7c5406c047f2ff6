"""The tab Photo without a browser: what it yields, and what Cancel leaves undone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")

import gradio as gr
import numpy as np
from PIL import Image

from emo_llama import EmotionRecognizer
from emo_llama.dataset_builders.synthetic import draw_face
from emo_llama.faces import Detection
from emo_llama.space.chosen import Chosen
from emo_llama.space.photo import AT_ONCE, EXAMPLES, FIND, WHOLE, Photo, look, redrawn
from emo_llama.testing import tiny_model, tiny_processor


class Grid:
    """A detector that finds ten faces in any picture."""

    def detect(self, image: Image.Image) -> list[Detection]:
        boxes = [(10.0 * i, 0.0, 10.0 * i + 10, 10.0) for i in range(10)]
        return [Detection(box, 0.9, box) for box in boxes]


NOTHING = (None, None, None, None)


def fields(chosen: Chosen) -> tuple[Any, ...]:
    """What is chosen; every choice is one of its own, so that the chat begins anew with each."""
    return chosen.image, chosen.detection, chosen.face, chosen.video


@pytest.fixture
def path(tmp_path: Path) -> str:
    draw_face("happiness", size=100).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


@pytest.fixture
def photo() -> Photo:
    return Photo(EmotionRecognizer(tiny_model(), tiny_processor(), Grid(), max_new_tokens=1))


def shown(photo: Photo, path: str, faces: str = FIND, beside: bool = False) -> Iterator[Any]:
    return photo.recognize(path, faces, 0.5, False, beside)


def test_faces_appear_as_they_become_known(photo: Photo, path: str) -> None:
    pages = [page for page, *_ in shown(photo, path)]
    assert "<progress aria" in pages[0] and "Looking for faces" in pages[0]
    assert [page.count("<h3>") for page in pages[1:]] == [0, 4, 8, 10]
    assert 'value="8" max="10"' in pages[3] and "progress" not in pages[4]


def test_the_last_page_brings_the_record_and_the_largest_face(photo: Photo, path: str) -> None:
    *_, (_, record, seen, chosen) = shown(photo, path)
    expected = photo.models[FIND](path).faces
    for face, there in zip(record["faces"], expected, strict=True):
        assert (face["box"], face["label"], face["text"]) == (
            list(there.box),
            there.label,
            there.text,
        )
        assert np.allclose([*face["probabilities"].values()], [*there.probabilities.values()])
        assert face["abstained"] == (face["confidence"] < 0.5)
    assert fields(chosen) == (seen.image, seen.found[0], seen.faces[0], None)


def test_another_threshold_changes_cards_and_record(photo: Photo, path: str) -> None:
    *_, (_, _, seen, _) = shown(photo, path)
    page, record = redrawn(seen, 1.0, False, False)
    assert page.count("unsure, perhaps") == 2 * 10, "on each box and each card"
    assert all(face["abstained"] for face in record["faces"])
    page, record = redrawn(seen, 0.0, False, False)
    assert "unsure" not in page and not any(face["abstained"] for face in record["faces"])


def test_the_whole_picture_can_be_the_face(photo: Photo, path: str) -> None:
    *_, (_, record, _, _) = shown(photo, path, WHOLE)
    assert [face["box"] for face in record["faces"]] == [[0.0, 0.0, 100.0, 100.0]]


def test_what_is_cancelled_works_on_no_further_face(
    photo: Photo, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gradio closes the generator, or asks it for nothing more, when somebody presses Cancel."""
    scored: list[int] = []
    score = photo.models[FIND].score
    monkeypatch.setattr(
        photo.models[FIND], "score", lambda seen: scored.append(seen.num_frames) or score(seen)
    )
    pages = shown(photo, path)
    while "<h3>" not in next(pages)[0]:
        pass
    pages.close()
    assert scored == [AT_ONCE]


def test_the_model_without_the_mining_comes_beside(photo: Photo, path: str) -> None:
    *_, (page, _, seen, _) = shown(photo, path, beside=True)
    plain = photo.plain
    assert plain is not None and page.count('class="is-beside"') == 10 * len(plain.labels)
    for face, alone in zip(seen.beside, plain(path).faces, strict=True):
        assert np.allclose([*face.probabilities.values()], [*alone.probabilities.values()])
    assert "is-beside" not in next(photo.set_beside(seen, 0.5, False, False))[0]


def test_without_a_picture_it_says_what_to_do(photo: Photo) -> None:
    with pytest.raises(gr.Error, match="no picture yet"):
        next(look(photo.models[FIND], None))


def test_a_picture_that_is_taken_away_is_forgotten(photo: Photo) -> None:
    ((page, *rest),) = photo.follow(None, FIND, 0.5, False, False)
    assert "The faces appear here" in page
    record, seen, chosen = rest
    assert record is seen is None and fields(chosen) == NOTHING


@pytest.mark.parametrize("index", [-1, 10, 1.5, "0", None, True])
def test_a_click_on_no_face_chooses_nothing(photo: Photo, path: str, index: object) -> None:
    *_, (_, _, seen, _) = shown(photo, path)
    event = gr.EventData(None, {"index": index})
    assert fields(photo.clicked(seen, event)) == NOTHING
    assert photo.clicked(seen, gr.EventData(None, {"index": 3})).face == seen.faces[3]


def test_the_drawn_example_is_drawn_by_the_package() -> None:
    drawn = Image.open(EXAMPLES["Six drawn faces"]).convert("RGB")
    for index, label in enumerate("happiness sadness anger surprise fear neutral".split()):
        left, top = index % 3 * 180 + 30, index // 3 * 180 + 30
        face = draw_face(label, 3 + index * 130, 120)
        assert drawn.crop((left, top, left + 120, top + 120)).tobytes() == face.tobytes()
