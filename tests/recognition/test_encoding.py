"""Each face is prepared once and looked at once, whatever is asked about it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_media import write_clip
from test_recognizer import FixedDetector

from emo_llama import EmotionRecognizer
from emo_llama.modeling import EmoLlamaEncodings
from emo_llama.testing import tiny_model, tiny_processor

BOXES = (5, 5, 45, 45), (50, 10, 80, 40)


@pytest.fixture
def looks(monkeypatch):
    """A recognizer with all that it can be asked, and how many rows each part has seen."""
    model, processor = tiny_model(), tiny_processor()
    detector = FixedDetector(*BOXES)
    recognizer = EmotionRecognizer(
        model, processor, detector, max_new_tokens=2, attributes="predicted"
    )
    seen = {"prepared": 0, "tower": 0, "face network": 0}
    tower, face = model.model.vision_tower, model.model.face_model
    tower.register_forward_pre_hook(
        lambda module, args: seen.update(tower=seen["tower"] + len(args[0]))
    )
    prepare, encode = type(processor.image_processor).preprocess, face.encode

    def preprocess(self, images, *args, **kwargs):
        seen["prepared"] += len(images)
        return prepare(self, images, *args, **kwargs)

    def encode_faces(crops):
        seen["face network"] += len(crops)
        return encode(crops)

    monkeypatch.setattr(type(processor.image_processor), "preprocess", preprocess)
    monkeypatch.setattr(face, "encode", encode_faces)
    return recognizer, seen


def picture() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.mark.parametrize("question", [None, "What do the eyes show?"])
def test_a_face_is_looked_at_once(looks, question) -> None:
    """The question is asked behind a description: two answers, labels, attributes, landmarks."""
    recognizer, seen = looks
    faces = recognizer.recognize(picture(), question, landmarks=True).faces
    assert [face.landmarks.shape for face in faces] == [(68, 2)] * len(BOXES)
    assert all(isinstance(face.text, str) for face in faces)
    assert set(seen.values()) == {len(BOXES)}


def test_a_conversation_looks_once(looks) -> None:
    recognizer, seen = looks
    recognizer.ask(picture(), "What do the eyes show?")
    assert set(seen.values()) == {1}


def test_each_frame_of_a_clip_is_looked_at_once(looks, tmp_path: Path) -> None:
    recognizer, seen = looks
    faces = recognizer.recognize(write_clip(tmp_path / "clip.mp4")).faces
    assert [bool(face.text) for face in faces] == [True] * len(BOXES)
    assert set(seen.values()) == {sum(len(face.frames) for face in faces)}


def test_encodings_are_scored_as_the_pictures_are(looks) -> None:
    recognizer, _ = looks
    boxes = [BOXES[0], None, BOXES[1]]
    seen, regions = recognizer.encode([picture()] * 3, boxes)
    assert regions.tolist() == [[0, 0, 55, 55], [0, 0, 120, 90], [42, 2, 87, 47]]
    rows = [seen.select([index]) for index in (2, 0, 1)]
    expected = recognizer.score_labels([picture()] * 3, boxes)[[2, 0, 1]]
    np.testing.assert_allclose(recognizer.score_labels(rows), expected, atol=1e-6)


def test_rows_are_selected_and_joined() -> None:
    model = tiny_model()
    with torch.no_grad():
        whole = model.encode(torch.rand(3, 3, 56, 56), torch.rand(3, 3, 64, 64))
    parts = [whole.select(slice(1, 3)), whole.select(torch.tensor([0]))]
    turned = EmoLlamaEncodings.cat(parts).to("cpu")
    assert turned.num_frames == 3
    assert turned.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(turned[name], value[[1, 2, 0]])
    with pytest.raises(ValueError, match="the same fields, got face_mask and "):
        EmoLlamaEncodings.cat([whole, EmoLlamaEncodings(face_mask=torch.ones(1).bool())])
