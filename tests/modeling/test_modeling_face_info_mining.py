import pytest
import torch
from PIL import Image, ImageDraw

from emo_llama.loading import EMBEDDED_MODEL, load_model
from emo_llama.modeling.modeling_face_info_mining import LocalClues
from emo_llama.recognition.recognizer import EmotionRecognizer
from emo_llama.testing import tiny_config

HALVES = [torch.bfloat16, torch.float16]
PORTRAIT = EMBEDDED_MODEL.parent / "portrait.jpg"


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("side", [2, 7, 16])
def test_landmarks_in_half_precision_find_the_map_of_single_precision(dtype, side):
    """Of a channels_last map, as the fusion gives it, and beyond the crop's edge as well."""
    torch.manual_seed(0)
    clues = LocalClues(tiny_config()).eval()
    torch.nn.init.normal_(clues.identity)
    feature_map = torch.randn(3, 16, side, side).to(memory_format=torch.channels_last).to(dtype)
    landmarks = (torch.rand(3, 68, 2) * 2.2 - 1.1).to(dtype)
    with torch.no_grad():
        single = clues(feature_map.float(), landmarks.float())
        half = clues.to(dtype)(feature_map, landmarks)
    assert half.dtype == dtype
    torch.testing.assert_close(half.float(), single, atol=0.1, rtol=0)


def drawn_face(smile: bool) -> Image.Image:
    """A face of circles and arcs."""
    face = Image.new("RGB", (112, 112), "#806040")
    draw = ImageDraw.Draw(face)
    draw.ellipse((16, 6, 96, 108), fill="#e0b090")
    for x in (40, 72):
        draw.ellipse((x - 6, 40, x + 6, 50), fill="white")
        draw.ellipse((x - 3, 42, x + 3, 48), fill="black")
    mouth, (start, end) = (36, 62, 76, 92), (10, 170) if smile else (190, 350)
    draw.arc(mouth, start, end, fill="#802020", width=4)
    return face


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
def test_the_embedded_model_labels_in_half_precision_as_in_single(dtype):
    portrait = Image.open(PORTRAIT).convert("RGB").crop((174, 73, 278, 176))
    faces = [portrait, portrait.rotate(10), drawn_face(smile=True), drawn_face(smile=False)]
    model, processor = load_model()
    expected = EmotionRecognizer(model, processor).score_labels(faces)
    recognizer = EmotionRecognizer(model.to(dtype), processor)
    scores = [recognizer.score_labels(faces) for _ in range(5)]  # 20 rows in batches of four
    scores += [recognizer.score_labels([face]) for face in faces for _ in range(5)]  # and 20 alone
    for rows, wanted in zip(
        scores, [expected] * 5 + [row[None] for row in expected for _ in range(5)], strict=True
    ):
        assert (rows.argmax(1) == wanted.argmax(1)).all()
        assert abs(rows - wanted).max() < 0.05  # a row with NaN fails here as well
