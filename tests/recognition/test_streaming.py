"""Answers piece by piece: together what comes at once, and no more work than is read."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_media import write_clip

from emo_llama import EmotionRecognizer
from emo_llama.errors import InputNotFoundError
from emo_llama.faces import Detection
from emo_llama.loading import EMBEDDED_MODEL
from emo_llama.prompts import (
    CONVERSATION_VARIANTS,
    FOLLOW_UPS,
    conversation_question,
    restate_clarity,
    settled,
)
from emo_llama.recognition.rendering import render_prompt
from emo_llama.testing import tiny_config, tiny_model, tiny_processor

PORTRAIT = EMBEDDED_MODEL.parent / "portrait.jpg"
QUESTION = "What do the eyes show?"


class TwoFaces:
    """Finds one half of a picture, then the other."""

    def detect(self, image: Image.Image) -> list[Detection]:
        boxes = ((0.0, 0.0, 22.0, 40.0), (22.0, 0.0, 40.0, 40.0))
        return [Detection(box, 0.9, box) for box in boxes]


@pytest.fixture(scope="module")
def recognizer() -> EmotionRecognizer:
    return EmotionRecognizer(tiny_model(), tiny_processor(), max_new_tokens=12)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.fixture(scope="module")
def shipped() -> EmotionRecognizer:
    return EmotionRecognizer.from_pretrained(device="cpu")


@pytest.mark.parametrize("question", [*CONVERSATION_VARIANTS, *FOLLOW_UPS.values(), "And now?"])
def test_the_pieces_are_the_answer(shipped: EmotionRecognizer, question: str) -> None:
    question = question.format(kind="image")
    pieces = list(shipped.stream(PORTRAIT, question))
    assert "".join(pieces) == shipped.ask(PORTRAIT, question)
    assert len(pieces) > 3


def test_the_pieces_about_a_clip(recognizer, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=4)
    turns = [(conversation_question("video"), "The person looks happy.")]
    for history in (None, [], turns):
        pieces = recognizer.stream(clip, QUESTION, history)
        assert "".join(pieces) == recognizer.ask(clip, QUESTION, history)


def test_which_face_is_meant(recognizer, picture, monkeypatch: pytest.MonkeyPatch) -> None:
    two = EmotionRecognizer(recognizer.model, recognizer.processor, TwoFaces(), max_new_tokens=4)
    encode, crops = two.encode, []
    monkeypatch.setattr(two, "encode", lambda images, boxes: crops.append(*boxes) or encode(images))
    for found in two.find_faces(picture):
        assert list(two.stream(picture, QUESTION, crop=found.crop))
    two.ask(picture, QUESTION)
    assert crops == [(0, 0, 22, 40), (22, 0, 40, 40), (0, 0, 22, 40)]


@pytest.mark.parametrize(
    "answer",
    [
        "The person looks happy: the expression is clear. The mouth is open.",
        "The person looks sad. It could also be seen as neutral. The expression is clear.",
        "The expression is clear.It could also be seen as the expression is not very clear.",
        "It could also be seen as this: the mouth is open. The expression is clear to all.",
        "  The expression is\nclear. the expression is not very clear. The",
        "Theory: it could, the expression isn't. The expression is not very clear",
        "It looks happy\ufffd\ufffd, it seems. It. The",
    ],
)
@pytest.mark.parametrize("sentence", ["The expression is clear.", "It could also be seen as sad."])
def test_what_is_settled_stays(answer: str, sentence: str) -> None:
    whole = restate_clarity(answer.strip(), sentence)
    for end in range(len(answer) + 1):
        assert whole.startswith(restate_clarity(settled(answer[:end].strip()), sentence))
    assert settled(f"{answer} And more") == f"{answer} And more"


@contextmanager
def slowed(recognizer: EmotionRecognizer) -> Iterator[list[float]]:
    """The time of each pass through the model, which takes a moment here."""
    steps: list[float] = []

    def before(module: object, args: object) -> None:
        time.sleep(0.02)
        steps.append(time.monotonic())

    hook = recognizer.model.register_forward_pre_hook(before)
    yield steps
    hook.remove()


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("answer")]


def test_who_stops_reading_stops_the_model(picture) -> None:
    recognizer = EmotionRecognizer(tiny_model(), tiny_processor(), max_new_tokens=500)
    with slowed(recognizer) as steps:
        answer = recognizer.stream(picture, conversation_question())
        assert next(answer)
        answer.close()
        before = len(steps)
        for thread in writers():
            thread.join(timeout=30)
        assert not writers()
        assert len(steps) <= before + 2 < 250
    short = EmotionRecognizer(recognizer.model, recognizer.processor, max_new_tokens=4)
    assert short.ask(picture, QUESTION)  # nobody waits for a lock that was left behind


def test_the_first_words_come_before_the_last(recognizer, picture) -> None:
    with slowed(recognizer) as steps:
        answer = recognizer.stream(picture, conversation_question())
        first = next(answer)
        early = len(steps)
        rest = "".join(answer)
        assert early < len(steps)
    assert first + rest == recognizer.ask(picture, conversation_question())


def test_an_error_reaches_the_reader(recognizer) -> None:
    with pytest.raises(InputNotFoundError, match="no such file"):
        list(recognizer.stream("nix.jpg", QUESTION))


def test_several_are_answered_at_a_time(recognizer) -> None:
    pictures = [np.full((20, 20, 3), 10 * n, dtype=np.uint8) for n in range(4)]
    expected = [recognizer.ask(picture, QUESTION) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda picture: "".join(recognizer.stream(picture, QUESTION)), pictures)
    assert list(answers) == expected


def test_a_long_conversation_keeps_its_first_and_last_turns(recognizer, picture) -> None:
    answerer, processor = recognizer._answerer, recognizer.processor
    turns = [(f"Question {n}?", "The mouth is open.") for n in range(500)]
    kept = answerer._recent(QUESTION, turns)
    assert kept == [turns[0], *turns[-len(kept) + 1 :]] and 2 < len(kept) < 500
    room = recognizer.model.config.text_config.max_position_embeddings
    room -= answerer.max_new_tokens + processor.num_tokens_per_frame
    prompt = render_prompt(processor, QUESTION, history=kept)
    one_more = render_prompt(processor, QUESTION, history=[turns[0], *turns[-len(kept) :]])
    assert answerer._num_tokens(prompt) <= room < answerer._num_tokens(one_more)
    assert recognizer.ask(picture, QUESTION, turns) == recognizer.ask(picture, QUESTION, kept)
    for few in ([], turns[:1], turns[:3]):
        assert answerer._recent(QUESTION, few) == few


@pytest.mark.parametrize("learned, kept", [(1, [0]), (2, [0]), (3, [0, 5]), (6, [0, 2, 3, 4, 5])])
def test_a_model_of_short_conversations_gets_short_ones(learned: int, kept: list[int]) -> None:
    model = tiny_model(tiny_config(max_turns=learned))
    answerer = EmotionRecognizer(model, tiny_processor())._answerer
    turns = [(f"Question {n}?", "Yes.") for n in range(6)]
    assert answerer._recent(QUESTION, turns) == [turns[n] for n in kept]


def test_the_shipped_model_stays_to_the_point(shipped: EmotionRecognizer) -> None:
    """It has learned conversations of two questions; the fifth is answered like the second."""
    turns = [(conversation_question(), shipped.ask(PORTRAIT, conversation_question()))]
    expected = [shipped.ask(PORTRAIT, question, turns) for question in FOLLOW_UPS.values()]
    for question in FOLLOW_UPS.values():
        turns.append((question, shipped.ask(PORTRAIT, question, turns)))
    assert [answer for _, answer in turns[1:]] == expected
    assert "mouth" in expected[0] and "eyes" in expected[1] and "brows" in expected[2]
