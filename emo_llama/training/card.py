"""The model card that a training run writes: what the model was made from and what it scores.

Only measured numbers stand in it, each beside its data, label rule, n and 95% interval.
"""

import json
import os
import platform
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from trl import SFTConfig

from emo_llama.dataset_builders.build import BUILDERS
from emo_llama.dataset_builders.build import REPORT as DATA_REPORT
from emo_llama.evaluation.report import versions
from emo_llama.hub.card import MODEL_FACTS
from emo_llama.loading import load_model
from emo_llama.modeling import EmoLlamaForConditionalGeneration
from emo_llama.training.arguments import RecipeArguments

METRICS = (
    ("war", "accuracy", "accuracy (WAR)"),
    ("uar", "recall", "mean recall (UAR)"),
    ("macro_f1", "f1", "macro F1"),
)

_CARD = Template(
    """
# EMO-LLaMA, $title

Names the facial expression of a person in an image or video, gives calibrated probabilities and
says what shows it. An open implementation of the ideas of
[EMO-LLaMA](https://arxiv.org/abs/2408.11424); neither its authors' code nor their weights.

## Scores

$scores
## Training

$data
- Minutes of each part: $minutes; $machine. $parameters parameters.
- Versions: $versions.
$untrained

## Licences

$licences

## Limits

- It names how a face looks to others, not what a person feels.
$limits- Age, gender and race heads are guesses from pictures. Nothing uses them unless it is asked
  for.
- Inferring emotions at work and in education is prohibited in the European Union (AI Act, Article
  5(1)(f)) except for medical and safety reasons.
"""
)

_SCORES = Template(
    """| split | rule | n | accuracy (WAR) | UAR | macro F1 |
|---|---|---|---|---|---|
| $split | $rule | $n | $war | $uar | $macro_f1 |

In per cent, with 95% intervals (Wilson for accuracy, bootstrap for the others), by the likelihood
of each label's text$point. $chosen
Command: `emo-llama eval --data BUILT --split validation --model DIR$asked`.

| label | recall | n |
|---|---|---|
$per_class
"""
)

_SCRATCH = {
    "title": "trained by its own recipe",
    "split": "FERPlus PublicTest (validation)",
    "chosen": """\
Settings and temperature ($temperature) were chosen on this very split, so
these numbers are optimistic; the test split was not touched.""",
    "data": """\
- Data: FERPlus training faces (majority rule for instructions, vote distributions for the face
  network; exact repeats of held-out pictures left out) and, for age, gender, race and landmarks,
  ${fairface}training faces of FairFace (Karkkainen and Joo, 2019). Landmarks come from mediapipe's
  face mesh.
- Made from nothing: seed $seed, vision tower `$tower`, face info mining `$switch`.""",
    "licences": """\
The code is Apache-2.0. The weights were learned from FER2013 images, which carry no open licence
(research benchmark; the FERPlus votes are MIT), and from FairFace (CC BY 4.0): use them for
research, and judge for yourself what else your law allows.""",
    "limits": """\
- It learned from small grey faces, mostly posed or from the web; rare classes (disgust, fear,
  contempt) are weak, as the table shows.
""",
}
"""What the card says of a model from scratch."""

_STOPPED = """\
The weights were chosen on this very split (early stopping), and so was the
temperature ($temperature): these numbers are optimistic."""
"""How a run with early stopping came to its numbers."""

_TUNED = {
    "title": "tuned on $source",
    "split": "$source, validation",
    "chosen": """\
Nothing was chosen on this split but the temperature ($temperature), and that
only where it holds 100 rows or more.""",
    "data": """\
- Data: $items items of `$source`, labels $labels; conversations by $annotator.
- Began with $start, seed $seed.""",
    "licences": """\
The code is Apache-2.0. What holds for the model that training began with holds for this one too. Of
the data: $data_licence""",
    "limits": "",
}
"""What it says of one that goes on from another."""


def write_card(
    model_dir: Path,
    data: Path,
    recipe: RecipeArguments,
    sft: SFTConfig,
    report: dict[str, Any] | None,
    start: str | Path | None,
) -> None:
    """Writes the card of a finished model.

    Args:
        model_dir (`Path`): The model; `README.md` in it is written.
        data (`Path`): Built instruction data.
        recipe ([`RecipeArguments`]): What it was made by.
        sft ([`trl.SFTConfig`]): Likewise.
        report (`dict`, *optional*): Scores on the validation split; `None` where there is none.
        start (`str` or `Path`, *optional*): What training began with; `None`: the embedded model.
    """
    model, _ = load_model(model_dir, "cpu")
    text = _SCRATCH if recipe.scratch is not None else _TUNED
    if recipe.scratch is None and recipe.early_stopping_patience:
        text = text | {"chosen": _STOPPED}
    values = {"seed": sft.seed, "tower": recipe.tower, "switch": recipe.face_info_mining}
    values |= _of_data(data) | _of_model(model) | {"start": _public_name(start)}
    values["asked"] = "" if recipe.attributes == "off" else f" --attributes {recipe.attributes}"
    values["point"] = (
        f", made up for rare labels (`prior_correction: {recipe.prior_correction}`)"
        if recipe.prior_correction
        else ""
    )
    values["minutes"], values["fairface"] = _minutes(model_dir.parent), _fairface(model_dir.parent)
    values |= {key: Template(part).substitute(values) for key, part in text.items()}
    values["scores"] = (
        "There was no validation split, so nothing was measured.\n"
        if report is None
        else _SCORES.substitute(values | _of_report(report))
    )
    head = ModelCardData(
        **MODEL_FACTS,
        license="other",
        license_name="mixed-see-card",
        model_name=f"EMO-LLaMA, {values['title']}",
        eval_results=None if report is None else _eval_results(values["source"], report),
    )
    ModelCard(f"---\n{head.to_yaml()}\n---\n{_CARD.substitute(values)}").save(
        model_dir / "README.md"
    )


def _eval_results(source: str, report: dict[str, Any]) -> list[EvalResult]:
    """The scores as the Hub shows them beside a model."""
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Facial expression recognition",
            dataset_type=source,
            dataset_name=source,
            dataset_split="validation",
            metric_type=kind,
            metric_name=name,
            metric_value=round(report[key], 4),
        )
        for key, kind, name in METRICS
    ]


def _of_data(data: Path) -> dict[str, Any]:
    """What the card says of the instruction data."""
    known = json.loads((data / DATA_REPORT).read_text(encoding="utf-8"))
    choices = known["choices"]
    return {
        "source": choices["name"],
        "annotator": choices["annotator"],
        "items": f"{known['counts']['category']['train']['written']:,}",
        "data_licence": BUILDERS[choices["name"]].LICENCE,
    }


def _of_model(model: EmoLlamaForConditionalGeneration) -> dict[str, Any]:
    """What it says of the model and the machine."""
    config: Any = model.config
    untrained = config.face_config.untrained_heads if config.face_config is not None else ()
    return {
        "temperature": config.label_temperature,
        "labels": ", ".join(label for _, label in sorted(config.id2label.items())),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "parameters": f"{model.num_parameters():,}",
        "versions": ", ".join(f"{name} {value}" for name, value in versions().items()),
        "untrained": f"- Untrained heads, not to be read: {', '.join(untrained)}."
        if untrained
        else "",
    }


def _of_report(report: dict[str, Any]) -> dict[str, Any]:
    """What it says of the scores."""
    return {key: _with_interval(report, key) for key in ("war", "uar", "macro_f1")} | {
        "rule": report["rule"],
        "n": f"{report['n']:,}",
        "per_class": "\n".join(
            f"| {name} | {100 * entry['recall']:.1f} | {entry['n']:,} |"
            for name, entry in report["per_class"].items()
        ),
    }


def _minutes(work_dir: Path) -> str:
    """How long the parts took."""
    times = work_dir / "minutes.json"
    known = json.loads(times.read_text(encoding="utf-8")) if times.is_file() else {}
    return ", ".join(f"{part} {value:.0f}" for part, value in known.items()) or "not noted"


def _fairface(work_dir: Path) -> str:
    """How many faces of FairFace were read here; empty where encoders of another run were taken."""
    table = work_dir / "landmarks-fairface.npz"
    if not table.is_file():
        return ""
    with np.load(table) as arrays:
        return f"{len(arrays['row_index']):,} "


def _public_name(start: str | Path | None) -> str:
    """The model that training began with, without the folders of this machine."""
    if start is None:
        return "the embedded model of emo-llama"
    return f"`{Path(start).name if Path(start).exists() else start}`"


def _with_interval(report: dict[str, Any], key: str) -> str:
    low, high = report["intervals"][key]
    return f"{100 * report[key]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
