"""The model card: one template for every model of this project, and what fills it.

What a folder tells by itself (parts, sizes, labels) stands in every card; what it was made from and
scores, where the writer knows it. Every number of the scores comes out of one evaluation report,
beside its label rule, n and 95% interval.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from emo_llama.evaluation.report import share_text
from emo_llama.modeling import EmoLlamaConfig

__all__ = ["CardFacts", "Scores", "model_card", "public_names", "with_repository"]

_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")

MODEL_FACTS: dict[str, Any] = {
    "library_name": "transformers",
    "pipeline_tag": "image-text-to-text",
    "tags": ["emo-llama", "facial-expression-recognition", "custom_code"],
}
"""What the Hub is told of every model of this project."""

METRICS = (
    ("war", "accuracy", "accuracy (WAR)"),
    ("uar", "recall", "mean recall (UAR)"),
    ("macro_f1", "f1", "macro F1"),
)
"""Keys of a report, and what the Hub calls them."""

_CARD = Template(
    """
# $title

Names the facial expression of a person in an image or video, gives probabilities for each label and
says what shows it. An open implementation of the ideas of
[EMO-LLaMA](https://arxiv.org/abs/2408.11424) as far as they are public; neither its authors' code
nor their weights.

| part | here |
|---|---|
| parameters | $parameters |
| vision tower | $vision |
| language model | $text |
| face network | $face |
| visual tokens a frame | $tokens ($compress) |
| labels | $labels |
$scores
## Use

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

path = "."  # this folder
pins = {"revision": "main", "code_revision": "main"}  # of a repository: the hash of a commit
model = AutoModelForImageTextToText.from_pretrained(path, trust_remote_code=True, **pins)
processor = AutoProcessor.from_pretrained(path, trust_remote_code=True, **pins)
messages = [
    {
        "role": "user",
        "content": [
            {"type": "image", "image": "photo.jpg"},
            {"type": "text", "text": "Describe the expression of the person in this image."},
        ],
    }
]
inputs = processor.apply_chat_template(
    messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
answer = model.generate(**inputs, max_new_tokens=64)[:, inputs["input_ids"].shape[1] :]
print(processor.batch_decode(answer, skip_special_tokens=True)[0])
```

`trust_remote_code=True` runs the Python files that lie beside the weights. Read them, and pin what
you have read: `main` is whatever was published last, while `revision` and `code_revision` with the
hash of a commit stay the weights and the code of that commit.

Without `face_boxes` the processor takes the whole image for the face; give boxes by
`processor_kwargs={"face_boxes": [(x0, y0, x1, y1)]}`. `pip install "emo-llama[faces]"` brings face
detection, label probabilities, the command line, and none of the remote code.
$training
## Licences

$licences

## Limits

- It names how a face looks to others, not what a person feels.
$limits- Its answers follow its training data, also in how well they fit people of different age,
  gender and skin. Measure this on your own data before you rely on it.
- Age, gender and race heads, where it has them, are guesses from pictures. Nothing uses them unless
  it is asked for.
- Inferring emotions at work and in education is prohibited in the European Union (AI Act, Article
  5(1)(f)) except for medical and safety reasons.
- Not for decisions about people: hiring, policing, credit, insurance, border control, lie
  detection.
"""
)

_SCORES = Template(
    """
## Scores

| split | rule | n | accuracy (WAR) | UAR | macro F1 |
|---|---|---|---|---|---|
| $split | $rule | $n | $war | $uar | $macro_f1 |

In per cent, with 95% intervals (Wilson for accuracy, bootstrap for the others), by the likelihood
of each label's text$point. $chosen
Command: `emo-llama eval --data BUILT --split validation --model DIR$options`.

| label | recall | n |
|---|---|---|
$per_class
"""
)

LICENCES = """\
The code beside the weights is Apache-2.0. The weights are bound by the licences of the models and
data that they were made from."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model scores, and how the numbers came about.

    Args:
        report (`dict`): As `emo-llama eval --format json` prints it.
        source (`str`): The data set, by the name that `emo-llama data build` takes.
        split (`str`): What the split is, for people.
        chosen (`str`): What was chosen on this split.
        point (`str`, *optional*): What was done to the probabilities, as `, made up for ...`.
        options (`str`, *optional*): More of the command, as ` --attributes predicted`.
    """

    report: Mapping[str, Any]
    source: str
    split: str
    chosen: str
    point: str = ""
    options: str = ""

    def section(self) -> str:
        """The section of the card, every number from the report."""
        report = self.report
        values = {key: share_text(report[key], report["intervals"][key]) for key, *_ in METRICS}
        rows = [
            f"| {name} | {100 * entry['recall']:.1f} | {entry['n']:,} |"
            for name, entry in report["per_class"].items()
        ]
        return _SCORES.substitute(
            values,
            split=self.split,
            rule=report["rule"],
            n=f"{report['n']:,}",
            point=self.point,
            chosen=self.chosen,
            options=self.options,
            per_class="\n".join(rows),
        )

    def results(self) -> list[EvalResult]:
        """The same for the Hub, which shows them beside a model."""
        report = self.report
        return [
            EvalResult(
                task_type="image-classification",
                task_name="Facial expression recognition",
                dataset_type=self.source,
                dataset_name=self.split,
                dataset_split="validation",
                dataset_args={"rule": report["rule"], "n": report["n"]},
                metric_type=kind,
                metric_name=name,
                metric_value=round(report[key], 4),
                metric_args={
                    "interval_95": [round(bound, 4) for bound in report["intervals"][key]]
                },
            )
            for key, kind, name in METRICS
        ]


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the writer of a card knows beyond the folder.

    Args:
        scores ([`Scores`], *optional*): What was measured.
        training (`str`, *optional*): How it was made, in Markdown.
        licences (`str`, *optional*): What binds the weights.
        limits (`str`, *optional*): Further limits, a list in Markdown with its last line end.
        base_model (`tuple[str, ...]`, *optional*): Repositories of what it was made from.
        datasets (`tuple[str, ...]`, *optional*): The data sets, by name.
        licence_name (`str`, *optional*): Of licences that are no single one, for the Hub.
    """

    scores: Scores | None = None
    training: str = ""
    licences: str = LICENCES
    limits: str = ""
    base_model: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    licence_name: str | None = None

    def front_matter(self, title: str) -> ModelCardData:
        """What the Hub reads of the card."""
        return ModelCardData(
            **MODEL_FACTS,
            license=None if self.licence_name is None else "other",
            license_name=self.licence_name,
            base_model=list(self.base_model) or None,
            datasets=list(self.datasets) or None,
            metrics=None if self.scores is None else [kind for _, kind, _ in METRICS],
            model_name=title,
            eval_results=None if self.scores is None else self.scores.results(),
        )


def model_card(
    title: str, config: EmoLlamaConfig, num_parameters: int, facts: CardFacts | None = None
) -> str:
    """Write a model card.

    Args:
        title (`str`):
            Title of the card.
        config ([`EmoLlamaConfig`]):
            The model's configuration.
        num_parameters (`int`):
            Number of weights.
        facts ([`CardFacts`], *optional*):
            What is known beyond that.

    Returns:
        `str`: Markdown with the front matter that the Hub reads.

    Example:
    ```python
    >>> from emo_llama.hub.card import model_card
    >>> from emo_llama.testing import tiny_config

    >>> model_card("tiny", tiny_config(), 1000).splitlines()[0]
    '---'

    ```
    """
    facts = facts or CardFacts()
    face = config.face_config
    body = _CARD.substitute(
        title=title,
        parameters=f"{num_parameters:,}",
        vision=config.vision_config.model_type,
        text=config.text_config.model_type,
        face="none" if face is None else f"FaceXFormer over {face.backbone_config.model_type}",
        tokens=config.num_tokens_per_frame,
        compress=f"compress {config.compress}",
        labels=", ".join(config.id2label[index] for index in sorted(config.id2label)),
        scores="" if facts.scores is None else facts.scores.section(),
        training=f"\n## Training\n\n{facts.training}\n" if facts.training else "",
        licences=facts.licences,
        limits=facts.limits,
    )
    return f"---\n{facts.front_matter(title).to_yaml()}\n---\n{body}"


def public_names(*sources: str | Path | None) -> tuple[str, ...]:
    """Those of some sources that are repositories; what lies on this machine has no public name.

    Args:
        sources (`str` or `Path`, *optional*):
            Folders and repositories.

    Returns:
        `tuple[str, ...]`: For `base_model`.
    """
    names = [str(source) for source in sources if source is not None]
    return tuple(name for name in names if _REPO_ID.fullmatch(name) and not Path(name).exists())


_PATH = re.compile(r'^path = "[^"\n]*"(?:  # this folder)?$(?=\npins = )', re.MULTILINE)
IN_A_FOLDER = {
    'load_dataset("this folder"': 'load_dataset("{repo}"',
    'load("USER/facial_expression")  # or the path of this folder': 'load("{repo}")',
    "from emo_llama.dataset_builders.stripping import join_pictures": (
        "from huggingface_hub import snapshot_download\n\n"
        "from emo_llama.dataset_builders.stripping import join_pictures"
    ),
    'join_pictures("this folder"': (
        'join_pictures(snapshot_download("{repo}", repo_type="dataset")'
    ),
}
"""Usage in the cards of a folder, and the same of a repository."""


def with_repository(card: str, repo: str) -> str:
    """Makes the usage in a card that of a repository; a card in other words stays as it is.

    Args:
        card (`str`):
            A card of a folder, or of another repository.
        repo (`str`):
            The repository, as `team/name`.

    Returns:
        `str`: The card to publish.

    Example:
    ```python
    >>> from emo_llama.hub.card import with_repository

    >>> with_repository('load_dataset("this folder", "category")', "team/name")
    'load_dataset("team/name", "category")'

    ```
    """
    for folder, repository in IN_A_FOLDER.items():
        card = card.replace(folder, repository.format(repo=repo))
    return _PATH.sub(f'path = "{repo}"', card)
