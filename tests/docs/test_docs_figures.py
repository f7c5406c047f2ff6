"""The scores that README and the pages show are those of the shipped model's report."""

import json
import re
from pathlib import Path

import pytest

from emo_llama.loading import EMBEDDED_MODEL

ROOT = Path(__file__).parents[2]
REPORT = json.loads((EMBEDDED_MODEL / "validation.json").read_text(encoding="utf-8"))
PLACES = ("README.md", "docs/index.md", "docs/faq.md", "docs/training.md")


def shown(key: str) -> tuple[str, ...]:
    """A score in per cent and the ends of its interval, as the pages write them."""
    return tuple(f"{100 * value:.1f}" for value in (REPORT[key], *REPORT["intervals"][key]))


@pytest.mark.parametrize("document", PLACES)
def test_scores_are_those_of_the_report(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    found = re.findall(r"([\d.]+)%? \[([\d.]+), ([\d.]+)\]", text)
    assert {shown("war"), shown("uar")} <= set(found)
    assert f"n = {REPORT['n']:,}" in text and REPORT["rule"] in text


def test_recalls_are_those_of_the_report():
    text = (ROOT / "docs" / "responsible-use.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \| ([\d,]+) \|$", text, re.MULTILINE)
    entries = REPORT["per_class"].items()
    expected = {(name, f"{100 * e['recall']:.1f}", f"{e['n']:,}") for name, e in entries}
    assert set(rows) == expected and f"n = {REPORT['n']:,}" in text
    answer = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
    for name in ("sadness", "fear", "disgust"):
        assert f"{100 * REPORT['per_class'][name]['recall']:.1f}%" in answer, name


def test_limits_of_the_space_are_those_of_its_code():
    """Read as text: gradio need not be there."""
    code = "".join((ROOT / "space" / name).read_text() for name in ("limits.py", "uploads.py"))
    limits = re.findall(r"^([A-Z_]+) = ([\d_]+)(?: << (\d+))?", code, re.MULTILINE)
    number = {name: int(value) << int(shift or 0) for name, value, shift in limits}
    page = " ".join((ROOT / "docs" / "space.md").read_text(encoding="utf-8").split())
    words = {2: "Two", 5: "five"}
    assert f"over {number['MAX_UPLOAD_BYTES'] >> 20} MiB" in page
    assert f"over {number['MAX_PICTURE_PIXELS'] // 10**6} megapixels" in page
    assert f"over {words[number['MAX_CLIP_SECONDS'] // 60]} minutes" in page
    assert f"deleted {number['KEEP_SECONDS'] // 60} minutes after" in page
    assert f"{words[number['AT_ONCE']]} calls of one endpoint" in page
    assert f"{number['MAX_WAITING']} wait" in page
