"""What the card of a training run tells: what the model was made from and what it scores.

The card itself is that of `emo_llama.hub.card`; the facts of one run are gathered here.
"""

import json
import os
import platform
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from trl import SFTConfig

from emo_llama.dataset_builders.build import BUILDERS
from emo_llama.dataset_builders.build import REPORT as DATA_REPORT
from emo_llama.evaluation.report import versions
from emo_llama.hub.card import CardFacts, Scores, model_card, public_names
from emo_llama.loading import load_model
from emo_llama.modeling import EmoLlamaForConditionalGeneration
from emo_llama.training.arguments import RecipeArguments

_NOT_MEASURED = "There was no validation split, so nothing was measured.\n"
_MADE = Template(
    """\
$data
- Minutes of each part: $minutes; $machine. $parameters parameters.
- Versions: $versions.$untrained"""
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
    values["minutes"], values["fairface"] = _minutes(model_dir.parent), _fairface(model_dir.parent)
    values |= {key: Template(part).substitute(values) for key, part in text.items()}
    made = _MADE.substitute(values)
    facts = CardFacts(
        scores=None if report is None else _scores(report, values, recipe),
        training=made if report is not None else f"{_NOT_MEASURED}\n{made}",
        licences=values["licences"],
        limits=values["limits"],
        base_model=public_names(start) if recipe.scratch is None else (),
        datasets=_datasets(values["source"], recipe),
        licence_name="mixed-see-card",
    )
    card = model_card(f"EMO-LLaMA, {values['title']}", model.config, model.num_parameters(), facts)
    (model_dir / "README.md").write_text(card, encoding="utf-8")


def _scores(report: dict[str, Any], values: dict[str, Any], recipe: RecipeArguments) -> Scores:
    """The scores, with what the recipe did to them."""
    point = f", made up for rare labels (`prior_correction: {recipe.prior_correction}`)"
    return Scores(
        report,
        values["source"],
        values["split"],
        values["chosen"],
        point if recipe.prior_correction else "",
        "" if recipe.attributes == "off" else f" --attributes {recipe.attributes}",
    )


def _datasets(source: str, recipe: RecipeArguments) -> tuple[str, ...]:
    """Data sets that others can get: a folder of one's own has no public name."""
    named = () if source == "folder" else (source,)
    return (*named, "fairface") if recipe.scratch is not None else named


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
        "untrained": f"\n- Untrained heads, not to be read: {', '.join(untrained)}."
        if untrained
        else "",
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
