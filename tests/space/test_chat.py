"""The tab of a conversation: about which face, with which turns before, and for whom."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")

import gradio as gr
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from emo_llama import EmotionRecognizer
from emo_llama.dataset_builders.synthetic_clips import write_clip
from emo_llama.errors import UsageError
from emo_llama.faces import Detection
from emo_llama.loading import EMBEDDED_MODEL
from emo_llama.prompts import conversation_question
from emo_llama.records import Face
from emo_llama.space.chat import MOST_TURNS, _Chat, checked_turns, messages
from emo_llama.space.chosen import Chosen
from emo_llama.space.clip import _Clip
from emo_llama.testing import tiny_model, tiny_processor

PORTRAIT = EMBEDDED_MODEL.parent / "portrait.jpg"
QUESTION = "What do the eyes show?"
FIRST = conversation_question()


class TwoFaces:
    """Finds the left half of a picture, then the right one."""

    def detect(self, image: Image.Image) -> list[Detection]:
        half, height = image.width / 2, float(image.height)
        boxes = ((0.0, 0.0, half, height), (half, 0.0, image.width, height))
        return [Detection(box, 0.9, box) for box in boxes]


@pytest.fixture
def two() -> EmotionRecognizer:
    return EmotionRecognizer(tiny_model(), tiny_processor(), TwoFaces(), max_new_tokens=6)


@pytest.fixture
def asked(two: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What the model is asked: the source, the question, the turns before, the place."""
    calls: list[tuple] = []
    stream = two.stream

    def recorded(source: object, question: str, history: object, crop: object) -> object:
        calls.append((source, question, history and list(history), crop))
        return stream(source, question, history, crop)

    monkeypatch.setattr(two, "stream", recorded)
    return calls


def test_a_picture_opens_with_what_its_largest_face_shows(two, asked: list) -> None:
    steps = list(_Chat(two).look(str(PORTRAIT)))
    panel, about, turns, shown, faces = steps[-1]
    half = faces.image.width / 2
    assert asked == [(about.image, FIRST, None, (0, 0, half, faces.image.height))]
    assert turns == ((FIRST, two.ask(about.image, FIRST, crop=about.detection.crop)),)
    assert shown == messages(turns)
    assert panel.count('aria-pressed="true"') == 1 == panel.count('aria-pressed="false"')
    assert len(steps) > 3  # word by word
    assert shown[1]["content"].startswith(steps[2][3][1]["content"])


def test_another_face_is_another_conversation(two, asked: list) -> None:
    chat = _Chat(two)
    *_, (_, _, _, _, faces) = chat.look(str(PORTRAIT))
    *_, (panel, about, turns, _) = chat.choose(faces, SimpleNamespace(_data={"index": 1}))
    assert about.detection is faces.found[1] and len(turns) == 1
    assert asked[-1] == (about.image, FIRST, None, faces.found[1].crop)
    assert 'data-face="1" aria-pressed="true"' in panel
    for index in (2, -1, "0", None, True):
        with pytest.raises(gr.Error, match="nothing to talk about"):
            next(chat.choose(faces, SimpleNamespace(_data={"index": index})))


def test_every_turn_reaches_the_model(two, asked: list) -> None:
    chat = _Chat(two)
    *_, (_, about, turns, _, _) = chat.look(str(PORTRAIT))
    for question in (QUESTION, "And the mouth?"):
        *_, (typed, turns, shown) = chat.talk(question, about, turns)
        assert (typed, shown) == ("", messages(turns))
    assert [question for question, _ in turns] == [FIRST, QUESTION, "And the mouth?"]
    assert asked[-1][1:3] == ("And the mouth?", list(turns[:2]))
    assert turns[2][1] == two.ask(about.image, "And the mouth?", turns[:2], about.detection.crop)


def test_a_clip_is_talked_about(two, asked: list, tmp_path: Path) -> None:
    path = str(tmp_path / "clip.mp4")
    write_clip(Path(path), "happiness", 1, num_frames=4)
    *_, (panel, about, turns, _, _) = _Chat(two).play(path)
    assert about.video == path and "this clip" in panel
    assert asked == [(path, conversation_question("video"), None, None)]
    assert turns[0][1] == two.ask(path, conversation_question("video"))


def test_a_clip_that_was_looked_at_brings_what_was_said(two, tmp_path: Path) -> None:
    path = str(tmp_path / "clip.mp4")
    write_clip(Path(path), "happiness", 1, num_frames=4)
    *_, (_, _, _, chosen) = _Clip(two).recognize(path, 0.5)
    _, _, turns, _, _ = _Chat(two).take(chosen)
    assert turns == ((conversation_question("video"), two(path).faces[0].text),)


def test_a_chosen_face_brings_what_was_said_of_it(two) -> None:
    image = Image.new("RGB", (40, 40))
    found = TwoFaces().detect(image)[1]
    face = Face(found.box, 0.9, "anger", {"anger": 1.0}, 1.0, text="The person looks angry.")
    panel, about, turns, shown, faces = _Chat(two).take(Chosen(image, found, face))
    assert about.detection is found and turns == ((FIRST, "The person looks angry."),)
    assert "anger 100%" in panel and shown == messages(turns) and faces is None
    assert hash(Chosen(image, found, face)) == hash(about) != hash(Chosen(image, found))
    panel, about, turns, shown, _ = _Chat(two).take(Chosen())
    assert "Nothing is talked about yet" in panel and (turns, shown) == ((), [])


def test_faces_are_found_before_a_picture_is_reduced(two, tmp_path: Path, monkeypatch) -> None:
    Image.new("RGB", (2560, 1280)).save(tmp_path / "large.png")
    sizes, detect = [], two.detector.detect
    monkeypatch.setattr(two.detector, "detect", lambda i: sizes.append(i.size) or detect(i))
    *_, (_, about, _, _, faces) = _Chat(two).look(str(tmp_path / "large.png"))
    assert sizes == [(2560, 1280)] and faces.image.size == (1280, 640)
    assert about.detection.crop == (0, 0, 640, 640)


def test_a_picture_without_a_face_is_said_so(asked: list, two, monkeypatch) -> None:
    monkeypatch.setattr(two.detector, "detect", lambda image: [])
    *_, (panel, about, _, _, _) = _Chat(two).look(str(PORTRAIT))
    assert "No face was found" in panel and about.detection is None
    assert asked[0][3] is None and about.image.size == Image.open(PORTRAIT).size


def test_talking_needs_a_face_and_a_question(two) -> None:
    chat = _Chat(two)
    with pytest.raises(gr.Error, match="Give a picture or a clip first"):
        next(chat.talk(QUESTION, Chosen(), ()))
    with pytest.raises(gr.Error, match="Type one"):
        next(chat.talk("  ", Chosen(Image.new("RGB", (9, 9))), ()))


@pytest.mark.parametrize("history", [{}, "a", [["a"]], [["a", 1]], [["a", "b"]] * 101, [("a", {})]])
def test_a_history_is_pairs_of_text(history: object) -> None:
    with pytest.raises(UsageError, match=f"up to {MOST_TURNS} pairs"):
        checked_turns(history)


def test_closing_stops_the_answer(two) -> None:
    two._answerer.max_new_tokens = 400
    passes: list[float] = []
    hook = two.model.register_forward_pre_hook(lambda *_: passes.append(time.sleep(0.01)))
    steps = _Chat(two).look(str(PORTRAIT))
    for _ in range(3):
        next(steps)
    steps.close()
    before = len(passes)
    for thread in threading.enumerate():
        if thread.name.startswith("answer"):
            thread.join(timeout=30)
    hook.remove()
    assert len(passes) <= before + 2 < 200


def test_an_answer_comes_word_by_word(client: Client, recognizer) -> None:
    job = client.submit(QUESTION, handle_file(PORTRAIT), api_name="/chat")
    expected = recognizer.ask(PORTRAIT, QUESTION)
    assert job.result() == expected
    assert len(job.outputs()) > 2 and expected.startswith(job.outputs()[0])


def test_history_and_clip_by_the_endpoint(client: Client, recognizer, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, "happiness", 1, num_frames=4)
    history = [["What does the mouth show?", "The mouth is open."]]
    answer = client.predict(QUESTION, clip=handle_file(path), history=history, api_name="/chat")
    assert answer == recognizer.ask(path, QUESTION, [tuple(turn) for turn in history])


@pytest.mark.parametrize(
    "question, about, message",
    [
        (QUESTION, {}, "nothing to talk about yet"),
        (" ", {"picture": handle_file(PORTRAIT)}, "no question yet"),
        (QUESTION, {"picture": handle_file(PORTRAIT), "face": 7}, "one of the 1 faces, from 0"),
        (QUESTION, {"picture": handle_file(PORTRAIT), "history": [1]}, "pairs of a question"),
        ("x" * 4001, {"picture": handle_file(PORTRAIT)}, "up to 4,000 characters"),
    ],
)
def test_errors_say_what_to_do(client: Client, question: str, about: dict, message: str) -> None:
    with pytest.raises(AppError, match=message):
        client.predict(question, **about, api_name="/chat")
