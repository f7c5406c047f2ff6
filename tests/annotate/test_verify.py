"""Every sentence of the template can be checked, and the check finds what is not measured."""

import numpy as np
import pytest
from PIL import Image

from emo_llama.annotate.geometry import MEASURES, TERCILES, FaceGeometry
from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.annotate.verify import unbacked
from emo_llama.cli import main
from emo_llama.dataset_builders.ferplus import VOTES
from emo_llama.dataset_builders.schema import ExpressionRecord
from emo_llama.labels import FERPLUS
from emo_llama.loading import EMBEDDED_MODEL

PORTRAIT = EMBEDDED_MODEL.parent / "portrait.jpg"


def face(generator, turn=0.0):
    """Measures anywhere around the thirds."""
    low, high = np.array([TERCILES[name] for name in MEASURES]).T
    values = generator.uniform(2 * low - high, 2 * high - low)
    return FaceGeometry(*map(float, values), turn=turn)


def conversations(monkeypatch, count):
    """Conversations about faces of random votes and geometry, one in five turned or unmeasured."""
    generator = np.random.default_rng(0)
    for row in range(count):
        measured = face(generator, turn=0.8 if row % 10 == 3 else 0.1)
        geometry = None if row % 10 == 7 else measured
        votes = tuple(map(int, generator.multinomial(10, generator.dirichlet([0.5] * 10))))
        label = FERPLUS[int(np.argmax(votes[:8]))]
        monkeypatch.setattr(FaceGeometry, "from_landmarks", lambda points, m=geometry: m)
        record = ExpressionRecord("ferplus", row, (b"",), label, FERPLUS, votes, VOTES)
        messages = TemplateAnnotator(lambda item: np.zeros((68, 2)))(record)
        yield messages, label, dict(zip(VOTES, votes, strict=True)), geometry


def test_every_sentence_of_the_template_is_backed(monkeypatch):
    for messages, label, votes, geometry in conversations(monkeypatch, 400):
        assert unbacked(messages, label, votes, geometry) == []


def test_twenty_conversations_about_another_face_are_found_out(monkeypatch):
    generator = np.random.default_rng(1)
    for messages, label, votes, geometry in conversations(monkeypatch, 20):
        if geometry is not None and not geometry.turned:
            others = [face(generator) for _ in range(20)]
            found = [bool(unbacked(messages, label, votes, other)) for other in others]
            assert sum(found) >= 15  # a few share three thirds by chance
            assert unbacked(messages, label, votes, None)


@pytest.mark.parametrize(
    "answer",
    [
        "The person looks sad.",
        "The mouth is open.",
        "The brows are raised and the mouth is closed.",
        "The expression is clear.",
        "The expression is not clear at all.",
        "It could also be seen as afraid.",
        "It could also be seen as sad.",
        "The head is turned to the side.",
        "The person is at a party.",
        "The person feels happy.",
    ],
)
def test_what_is_not_measured_is_named(answer):
    middle = {name: sum(TERCILES[name]) / 2 for name in MEASURES}
    geometry = FaceGeometry(**(middle | {"mouth_opening": 0.0}), turn=0.1)
    votes = {"happiness": 6, "surprise": 3, "sadness": 2, "unknown": 1}
    messages = [{"role": "assistant", "content": answer}]
    assert unbacked(messages, "happiness", votes, geometry) == [answer]
    for true in (
        "The person looks happy: the mouth is closed and the brows are level.",
        "The expression is not very clear.",
        "It could also be seen as surprised.",
        "It shows only the face: the mouth is closed.",
    ):
        messages = [{"role": "assistant", "content": true}]
        assert unbacked(messages, "happiness", votes, geometry) == []


def test_a_label_with_an_and_in_it():
    record = ExpressionRecord("folder", 0, (b"",), "calm and glad", ("calm and glad", "sad"))
    for seed in range(20):
        assert unbacked(TemplateAnnotator(seed=seed)(record), record.label, {}, None) == []


def test_the_command_prints_conversations_beside_the_measurements(tmp_path, capsys):
    pytest.importorskip("mediapipe")
    for label in ("happy", "sad"):
        path = tmp_path / "photos" / "train" / label / "1.png"
        path.parent.mkdir(parents=True)
        Image.open(PORTRAIT).save(path)
    out = str(tmp_path / "out")
    assert main(["data", "build", "folder", "--root", str(tmp_path / "photos"), "--out", out]) == 0
    capsys.readouterr()
    assert main(["data", "show", out]) == 0
    text = capsys.readouterr().out
    assert text.count("every sentence holds") == 2
    assert text.count("mouth_opening") == 2
    assert "user: " in text and "assistant: The person looks " in text


def test_the_command_says_what_is_missing(tmp_path, capsys):
    assert main(["data", "show", str(tmp_path)]) == 1
    assert "Build one first" in capsys.readouterr().err
