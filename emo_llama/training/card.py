"""The model card that a training run writes: what the model was made from and what it scores.

Only measured numbers stand in it, each beside its data, label rule, n and 95% interval.
"""

import json
import os
import platform
from pathlib import Path
from string import Template
from typing import Any

from trl import SFTConfig

from emo_llama.evaluation.report import versions
from emo_llama.evaluation.split import evaluate_split, read_split
from emo_llama.recognizer import EmotionRecognizer
from emo_llama.training.arguments import RecipeArguments

_CARD = Template(
    """---
library_name: transformers
pipeline_tag: image-text-to-text
license: other
license_name: mixed-see-card
tags:
- emo-llama
- facial-expression-recognition
- custom_code
---

# EMO-LLaMA, trained by its own recipe

Names the facial expression of a person in an image or video, gives calibrated probabilities and
says what shows it. An open implementation of the ideas of
[EMO-LLaMA](https://arxiv.org/abs/2408.11424); neither its authors' code nor their weights.

## Scores

| split | rule | n | accuracy (WAR) | UAR | macro F1 |
|---|---|---|---|---|---|
| FERPlus PublicTest (validation) | $rule | $n | $war | $uar | $macro_f1 |

In per cent, with 95% intervals (Wilson for accuracy, bootstrap for the others), by the likelihood
of each label's text. Settings and temperature ($temperature) were chosen on this very split, so
these numbers are optimistic; the test split was not touched.
Command: `emo-llama eval --data BUILT --split validation --model DIR`.

| label | recall | n |
|---|---|---|
$per_class

## Training

- Data: FERPlus training faces (majority rule for instructions, vote distributions for the face
  network; exact repeats of held-out pictures left out) and, for age, gender, race and landmarks,
  40,000 training faces of FairFace (Karkkainen and Joo, 2019). Landmarks come from mediapipe's
  face mesh.
- Recipe: `recipes/tiny.yaml`, seed $seed, vision tower `$tower`, face info mining `$switch`.
- Minutes of each part: $minutes; $machine. $parameters parameters.
- Versions: $versions.
$untrained

## Licences

The code is Apache-2.0. The weights were learned from FER2013 images, which carry no open licence
(research benchmark; the FERPlus votes are MIT), and from FairFace (CC BY 4.0): use them for
research, and judge for yourself what else your law allows.

## Limits

- It names how a face looks to others, not what a person feels.
- It learned from small grey faces, mostly posed or from the web; rare classes (disgust, fear,
  contempt) are weak, as the table shows.
- Age, gender and race heads are guesses from pictures. Nothing uses them unless it is asked for.
- Inferring emotions at work and in education is prohibited in the European Union (AI Act, Article
  5(1)(f)) except for medical and safety reasons.
"""
)


def write_card(model_dir: Path, data: Path, recipe: RecipeArguments, sft: SFTConfig) -> None:
    """Scores a finished model on the validation split and writes its card.

    Args:
        model_dir (`Path`): The model; `README.md` and `validation.json` in it are written.
        data (`Path`): Built instruction data.
        recipe ([`RecipeArguments`]): What it was made by.
        sft ([`trl.SFTConfig`]): Likewise.
    """
    recognizer = EmotionRecognizer.from_pretrained(model_dir, detector="none")
    report = evaluate_split(recognizer, read_split(data, "validation"))
    (model_dir / "validation.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
    times = model_dir.parent / "minutes.json"
    minutes = json.loads(times.read_text(encoding="utf-8")) if times.is_file() else {}
    config = recognizer.model.config
    untrained = config.face_config.untrained_heads if config.face_config is not None else ()
    values = {key: _with_interval(report, key) for key in ("war", "uar", "macro_f1")}
    text = _CARD.substitute(
        values,
        rule=report["rule"],
        n=f"{report['n']:,}",
        temperature=config.label_temperature,
        per_class="\n".join(
            f"| {name} | {100 * entry['recall']:.1f} | {entry['n']:,} |"
            for name, entry in report["per_class"].items()
        ),
        seed=sft.seed,
        tower=recipe.tower,
        switch=recipe.face_info_mining,
        minutes=", ".join(f"{part} {value:.0f}" for part, value in minutes.items()) or "not noted",
        machine=f"{os.cpu_count()} CPU cores, {platform.machine()}",
        parameters=f"{recognizer.model.num_parameters():,}",
        versions=", ".join(f"{name} {value}" for name, value in versions().items()),
        untrained=f"- Untaught heads, not to be read: {', '.join(untrained)}." if untrained else "",
    )
    (model_dir / "README.md").write_text(text, encoding="utf-8")


def _with_interval(report: dict[str, Any], key: str) -> str:
    low, high = report["intervals"][key]
    return f"{100 * report[key]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
