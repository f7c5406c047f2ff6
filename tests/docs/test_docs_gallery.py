"""The gallery shows what the shipped model gives now."""

import importlib.util
import re
from pathlib import Path

import pytest
from PIL import Image

from emo_llama import EmotionRecognizer

DOCS = Path(__file__).parents[2] / "docs"
NUMBER = re.compile(r"\d+(?:\.\d+)?")
TOLERANCE = 1.0  # per cent: sums on a CPU depend on the processor


@pytest.mark.slow
def test_the_gallery_is_what_its_script_makes(tmp_path):
    """All of it but the drawn faces, for which a model is trained."""
    spec = importlib.util.spec_from_file_location("gallery", DOCS / "scripts" / "gallery.py")
    gallery = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gallery)
    (tmp_path / "images").mkdir()
    recognizer = EmotionRecognizer.from_pretrained()
    parts = [
        gallery.portrait_part(recognizer, tmp_path),
        gallery.questions_part(recognizer),
        gallery.several_part(recognizer, tmp_path),
        gallery.blur_part(recognizer, tmp_path),
        gallery.clip_part(recognizer, tmp_path),
    ]
    shown = (DOCS / "gallery.md").read_text(encoding="utf-8").partition("\n## Drawn faces")[0]
    shown = shown[shown.index("## One face") :]
    made = "\n".join(parts)
    assert NUMBER.sub("#", shown).strip() == NUMBER.sub("#", made).strip()
    assert [float(number) for number in NUMBER.findall(shown)] == pytest.approx(
        [float(number) for number in NUMBER.findall(made)], abs=TOLERANCE
    )
    for path in sorted((tmp_path / "images").glob("*.jpg")):
        kept = DOCS / "images" / path.name
        assert Image.open(kept).size == Image.open(path).size and kept.stat().st_size < 100_000
