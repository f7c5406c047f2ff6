"""The model card: one template, its numbers those of the stored report, its metadata the Hub's."""

import json
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from emo_llama.hub.card import CardFacts, Scores, model_card, public_names, with_repository
from emo_llama.hub.export import export
from emo_llama.hub.front_matter import check_card
from emo_llama.loading import EMBEDDED_MODEL, read_config
from emo_llama.testing import tiny_config
from emo_llama.weights import num_parameters, tensor_shapes, weight_files

ROOT = Path(__file__).parents[2]
CARD = (EMBEDDED_MODEL / "README.md").read_text(encoding="utf-8")
REPORT = json.loads((EMBEDDED_MODEL / "validation.json").read_text(encoding="utf-8"))
METRICS = {"war": "accuracy", "uar": "recall", "macro_f1": "f1"}


def rows(text, columns):
    """The cells of every table row with so many columns."""
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [cells for cells in found if len(cells) == columns]


def with_interval(report, key):
    low, high = report["intervals"][key]
    return f"{100 * report[key]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def test_the_tables_of_the_embedded_card_are_its_report():
    (_, scored) = rows(CARD, 6)
    assert scored[1:3] == [REPORT["rule"], f"{REPORT['n']:,}"]
    assert scored[3:] == [with_interval(REPORT, key) for key in METRICS]
    recalls = rows(CARD.split("| label | recall | n |")[1].split("\n\n")[0], 3)
    assert recalls == [
        [name, f"{100 * entry['recall']:.1f}", f"{entry['n']:,}"]
        for name, entry in REPORT["per_class"].items()
    ]


def test_the_model_index_of_the_embedded_card_is_its_report():
    head = ModelCard(CARD).data
    assert {r.metric_type: r.metric_value for r in head.eval_results} == {
        kind: round(REPORT[key], 4) for key, kind in METRICS.items()
    }
    for result, key in zip(head.eval_results, METRICS, strict=True):
        assert result.dataset_args == {"rule": REPORT["rule"], "n": REPORT["n"]}
        assert result.metric_args == {
            "interval_95": [round(bound, 4) for bound in REPORT["intervals"][key]]
        }


@pytest.mark.parametrize("document", ["MODEL_CARD.md", "README.md"])
def test_other_pages_say_the_same_of_the_embedded_model(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    shown = {key: with_interval(REPORT, key) for key in ("war", "uar")}
    assert f"| {shown['war']} | {shown['uar']} |" in text
    assert f"n = {REPORT['n']:,}" in text


def test_the_embedded_card_is_the_template_filled():
    """By the report, the configuration and the weights; the training run's own words apart."""
    config = read_config(EMBEDDED_MODEL)
    chosen = re.search(r"label's text\. (.*?)\nCommand:", CARD, re.DOTALL)[1]
    training = CARD.split("## Training\n\n")[1].split("\n\n## Licences")[0]
    licences = CARD.split("## Licences\n\n")[1].split("\n\n## Limits")[0]
    limits = "- It learned from" + CARD.split("- It learned from")[1].split("- Its answers")[0]
    facts = CardFacts(
        Scores(REPORT, "ferplus", "FERPlus PublicTest (validation)", chosen),
        training,
        licences,
        limits,
        datasets=("ferplus", "fairface"),
        licence_name="mixed-see-card",
    )
    count = num_parameters(tensor_shapes(weight_files(EMBEDDED_MODEL)))
    assert model_card("EMO-LLaMA, trained by its own recipe", config, count, facts) == CARD
    assert str(round(config.label_temperature, 4)) in chosen


def test_the_hub_is_told_what_the_model_is():
    head = ModelCard(CARD).data
    assert (head.library_name, head.pipeline_tag) == ("transformers", "image-text-to-text")
    assert (head.license, head.license_name) == ("other", "mixed-see-card")
    assert head.datasets == ["ferplus", "fairface"]
    assert head.metrics == ["accuracy", "recall", "f1"]
    assert {"emo-llama", "custom_code"} <= set(head.tags)
    assert check_card(CARD, "model", []) is None


@pytest.mark.parametrize(
    "card", [CARD, model_card("tiny", tiny_config(), 1000)], ids=["own", "any"]
)
def test_every_card_says_how_to_use_it_and_what_it_is_not_for(card):
    for words in (
        '"revision": "main", "code_revision": "main"',
        "trust_remote_code=True",
        "Apache-2.0",
        "not what a person feels",
        "5(1)(f)",
    ):
        assert words in card
    assert check_card(card, "model", []) is None


def test_the_licence_chain_of_the_embedded_model_is_told():
    licences = CARD.split("## Licences")[1].split("## Limits")[0]
    for words in ("Apache-2.0", "FER2013", "no open licence", "MIT", "FairFace", "CC BY 4.0"):
        assert words in licences


def test_a_card_names_what_it_was_made_from(tmp_path):
    (tmp_path / "team").mkdir()
    names = public_names("team/base", tmp_path / "team", None, "~/models/mine", str(tmp_path))
    assert names == ("team/base",)
    card = model_card("tuned", tiny_config(), 1, CardFacts(base_model=names, datasets=("dfew",)))
    head = ModelCard(card).data
    assert (head.base_model, head.datasets) == (["team/base"], ["dfew"])
    assert head.eval_results is None and head.metrics is None
    assert check_card(card, "model", []) is None


def test_an_exported_folder_carries_its_report_and_its_own_card(tmp_path):
    out = export(None, tmp_path / "out")
    assert json.loads((out / "validation.json").read_text()) == REPORT
    assert (out / "README.md").read_text(encoding="utf-8") == CARD
    shared = with_repository(CARD, "team/name")
    assert 'path = "team/name"' in shared and "# this folder" not in shared
    again = with_repository(shared, "others/copy")
    assert 'path = "others/copy"' in again and "team/name" not in again
