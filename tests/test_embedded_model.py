"""The model that the package ships, on the portrait that the package ships."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageFilter
from transformers import AutoTokenizer

from emo_llama import EmotionRecognizer
from emo_llama.cli import main
from emo_llama.labels import FERPLUS
from emo_llama.loading import EMBEDDED_MODEL
from emo_llama.prompts import FOLLOW_UPS, category_question, clarity_sentence, conversation_question

ROOT = Path(__file__).parents[1]
PORTRAIT = ROOT / "emo_llama" / "assets" / "portrait.jpg"


@pytest.fixture(scope="module")
def recognizer() -> EmotionRecognizer:
    return EmotionRecognizer.from_pretrained(device="cpu")


def test_it_is_small_safe_and_documented() -> None:
    files = [path for path in EMBEDDED_MODEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25_000_000
    kinds = {path.suffix for path in files}
    assert kinds <= {".json", ".jinja", ".md", ".py", ".safetensors", ".txt"}
    assert "95% interval" in (EMBEDDED_MODEL / "README.md").read_text(encoding="utf-8")


def test_the_portrait_smiles(recognizer: EmotionRecognizer) -> None:
    (face,) = recognizer(PORTRAIT).faces
    assert face.label == "happiness"
    assert face.confidence > 0.5
    assert tuple(face.probabilities) == FERPLUS
    assert sum(face.probabilities.values()) == pytest.approx(1)
    assert face.text.startswith("The person looks happy")
    assert face.text.isprintable() and face.text.endswith(".")


def test_its_landmarks_lie_on_the_face(recognizer: EmotionRecognizer) -> None:
    (face,) = recognizer.recognize(PORTRAIT, describe=False, landmarks=True).faces
    eyes, mouth = face.landmarks[36:48].mean(0), face.landmarks[48:68].mean(0)
    assert eyes == pytest.approx((222, 104), abs=12)
    assert mouth == pytest.approx((224, 148), abs=12)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (FOLLOW_UPS["eyes"], "The eyes are narrow."),
        (FOLLOW_UPS["mouth"], "The mouth corners are raised and the mouth is open."),
        (FOLLOW_UPS["brows"], "The brows are level."),
        (FOLLOW_UPS["sure"], "The expression is clear. A picture shows a look, not a feeling."),
    ],
)
def test_each_question_is_answered_by_what_it_asks_for(
    recognizer: EmotionRecognizer, question: str, answer: str
) -> None:
    """A broad smile: narrow eyes, raised corners. Training asks these as second turns."""
    assert recognizer.ask(PORTRAIT, question) == answer


def test_the_cause_of_a_feeling_is_not_made_up(recognizer: EmotionRecognizer) -> None:
    assert "does not show the cause" in recognizer.ask(PORTRAIT, FOLLOW_UPS["why"])


def test_earlier_turns_count(recognizer: EmotionRecognizer) -> None:
    turns = [(FOLLOW_UPS["why"], "The picture does not show the cause.")]
    asked = recognizer.ask(PORTRAIT, FOLLOW_UPS["mouth"], history=turns)
    assert asked != recognizer.ask(PORTRAIT, FOLLOW_UPS["mouth"], history=[])


def test_no_sentence_contradicts_its_number(recognizer: EmotionRecognizer) -> None:
    """From the portrait's smile to a face that shows nothing, the words follow the numbers."""
    face = Image.open(PORTRAIT).convert("RGB").crop((170, 70, 280, 180))
    blurred = face.filter(ImageFilter.GaussianBlur(9))
    whole = EmotionRecognizer(recognizer.model, recognizer.processor)
    closings = set()
    for share in (0.0, 0.5, 0.65, 0.75, 0.85, 1.0):
        (seen,) = whole(Image.blend(face, blurred, share)).faces
        closing = clarity_sentence(seen.probabilities, seen.label)
        assert seen.text.endswith(closing)
        assert seen.text.lower().count("could also be seen") + seen.text.count("clear.") == 1
        assert ("The expression is clear." in seen.text) == (seen.confidence >= 0.8)
        closings.add(closing)
    assert len(closings) > 1


def test_it_loads_in_half_precision(recognizer: EmotionRecognizer) -> None:
    half = EmotionRecognizer.from_pretrained(device="cpu", dtype="bfloat16", detector="none")
    assert half.model.dtype == torch.bfloat16
    face = Image.open(PORTRAIT).convert("RGB").crop((170, 70, 280, 180))
    assert half.recognize(face, describe=False).faces[0].label == "happiness"


def test_one_face_gives_the_same_in_any_batch(recognizer: EmotionRecognizer) -> None:
    image = Image.open(PORTRAIT).convert("RGB")
    boxes = [(170, 70, 280, 180), (60, 60, 400, 400), (170, 70, 280, 180)]
    together = recognizer.score_labels([image] * 3, boxes)
    alone = recognizer.score_labels([image], boxes[:1])
    assert together[0] == pytest.approx(together[2], abs=1e-6)
    assert together[0] == pytest.approx(alone[0], abs=1e-4)


def chat(recognizer: EmotionRecognizer, conversations: list) -> list[str]:
    """New text of a batch of conversations, as any client of transformers reads it."""
    processor = recognizer.processor
    inputs = processor.apply_chat_template(
        conversations,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )
    ids = recognizer.model.generate(**inputs, max_new_tokens=24, do_sample=False)
    new = ids[:, inputs["input_ids"].shape[1] :]
    return processor.batch_decode(new, skip_special_tokens=True)


def test_a_padded_batch_is_answered_as_its_rows_alone(recognizer: EmotionRecognizer) -> None:
    face = Image.open(PORTRAIT).convert("RGB").crop((170, 70, 280, 180))
    questions = [category_question(FERPLUS), conversation_question(), "What does the mouth show?"]
    conversations = [
        [{"role": "user", "content": [{"type": "image", "image": face}, text]}]
        for text in ({"type": "text", "text": question} for question in questions)
    ]
    together = chat(recognizer, conversations)
    assert together == [chat(recognizer, [one])[0] for one in conversations]
    assert together[0] == "happiness"  # the bare label: harnesses compare exactly
    assert together[1].startswith("The person looks happy")


def test_the_shipped_tokenizer_pads_left() -> None:
    assert AutoTokenizer.from_pretrained(EMBEDDED_MODEL).padding_side == "left"


def test_the_demo_prints_what_the_readme_shows(tmp_path: Path, monkeypatch, capsys) -> None:
    """Numbers differ in the last digit between machines; words do not."""
    monkeypatch.chdir(ROOT)
    path = PORTRAIT.relative_to(ROOT)
    assert main(["predict", str(path), "--device", "cpu", "--overlay", str(tmp_path)]) == 0
    shown = (ROOT / "README.md").read_text(encoding="utf-8")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] in shown
    assert printed[3].strip() in shown
    assert (tmp_path / "portrait.overlay.jpg").is_file()


def test_the_record_of_the_portrait_is_json(capsys) -> None:
    assert main(["predict", str(PORTRAIT), "--device", "cpu", "--format", "jsonl"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["faces"][0]["label"] == "happiness"


@pytest.mark.slow
def test_it_offers_a_balanced_operating_point(capsys: pytest.CaptureFixture[str]) -> None:
    """Contempt, the rarest label but one in the training data, gains the most but one."""

    def named(*words: str) -> dict[str, float]:
        assert main(["predict", str(PORTRAIT), "--no-text", "--format", "json", *words]) == 0
        (record,) = json.loads(capsys.readouterr().out)
        return record["faces"][0]["probabilities"]

    own, balanced = named(), named("--prior", "balanced")
    gains = {label: balanced[label] / own[label] for label in FERPLUS}
    assert sorted(gains, key=gains.__getitem__, reverse=True)[:3] == ["disgust", "contempt", "fear"]
    assert main(["predict", str(PORTRAIT), "--prior", "fair"]) == 2
    assert "no operating point 'fair'; it has balanced" in capsys.readouterr().err
