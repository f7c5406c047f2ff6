"""The README of a built folder: what it holds, how it was made, and under which licence.

The YAML head names the configurations, so that `load_dataset` and the Hub read the folder as it is.
Numbers are taken from what the build counted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import DatasetCardData

from emo_llama.dataset_builders.base import CONFIGS, ExpressionBuilder
from emo_llama.dataset_builders.schema import Annotator

__all__ = ["Counts", "dataset_card", "imbalance"]

Counts = Mapping[str, Mapping[str, Counter[str]]]
"""For each configuration and split: what became of the items, and the labels of what is written."""

FIRST_LINES = ("read", "without a label", "repeats dropped", "written")


def dataset_card(
    builder: ExpressionBuilder,
    counts: Counts,
    annotator: Annotator,
    choices: Mapping[str, Any],
    digest: str,
) -> str:
    """The text of the README.

    Args:
        builder (`ExpressionBuilder`):
            What was built.
        counts (`dict[str, dict[str, Counter[str]]]`):
            What became of the items.
        annotator (`Annotator`):
            What wrote the conversations.
        choices (`dict[str, Any]`):
            What was chosen for this build, by the name of the option.
        digest (`str`):
            Of all shards. `datasets` keeps what it has read by the name of the folder and by this
            head, so that two builds of one name must not have the same.

    Returns:
        `str`: YAML head and Markdown.
    """
    name = builder.NAME
    chosen = "\n".join(f"- {option}: `{value}`" for option, value in choices.items())
    origin = ", ".join(f"{key} `{value}`" for key, value in annotator.provenance().items())
    text = f"""
# Instruction data from {name}

{builder.SUMMARY} Written by `emo-llama data build {name}`. Source: {builder.HOMEPAGE}

- Label rule: `{builder.rule}`. Rows without a label under the rule are left out.
{chosen}
- `category`: a question with the options in braces, answered by the bare label. Training varies
  the wording in every second row; validation and test always ask in the first wording.
- `conversation`: the training rows again, with one or two turns about what the face shows.
  Made by {origin}. {annotator.summary()}

```python
from datasets import load_dataset

rows = load_dataset("this folder", "category", split="train")
```

## Rows

{_paper_row(builder, counts)}

{_statistics(builder.labels, counts[CONFIGS[0]])}

Columns: `id`; `file` (in the official layout) and `subject`, where the set tells them; `images`
(the frames, for a clip) or `videos` (bytes of the clip); `messages` (role, content); `label`;
`labels` (the label set, in order); `votes` (how many annotators chose each label, where the set
tells it); `rule`; `source`. `report.json` names what could not be used, and the checksums.

## Licence and limits

{builder.LICENCE}

Labels are what annotators saw in a face, not what the person felt. People disagree on many faces.
"""
    return _front_matter(name, counts, digest) + text


def imbalance(counts: Counter[str], labels: Sequence[str]) -> float:
    """Size of the largest class over that of the smallest that has any item.

    Args:
        counts (`Counter[str]`): Items of each label.
        labels (`Sequence[str]`): The label set.

    Returns:
        `float`: 1 or more; 0 where nothing was written.
    """
    sizes = [counts[label] for label in labels if counts[label]]
    return max(sizes) / min(sizes) if sizes else 0.0


def _front_matter(name: str, counts: Counts, digest: str) -> str:
    """The YAML head from which `load_dataset` and the Hub learn the configurations."""
    configs = [
        {
            "config_name": config,
            **({"default": True} if config == CONFIGS[0] else {}),
            "description": f"sha256 {digest}",
            "data_files": [
                {"split": split, "path": f"{config}/{name}-{split}-*.parquet"}
                for split, count in splits.items()
                if count["written"]
            ],
        }
        for config, splits in counts.items()
    ]
    rows = sum(split["written"] for split in counts[CONFIGS[0]].values())
    sizes = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M")
    size = sizes[sum(rows >= bound for bound in (1_000, 10_000, 100_000))]
    head = DatasetCardData(
        pretty_name=f"EMO-LLaMA instructions from {name}",
        language=["en"],
        license="other",
        task_categories=["image-text-to-text", "image-classification"],
        tags=["facial-expression-recognition", "instruction-tuning"],
        size_categories=[size],
        configs=configs,
    )
    return f"---\n{head.to_yaml()}\n---\n"


def _paper_row(builder: ExpressionBuilder, counts: Counts) -> str:
    """Training items, conversations and long tail, in the columns of the paper's table."""
    category, conversation = (counts[config].get("train", Counter()) for config in CONFIGS)
    ratio = imbalance(category, builder.labels)
    return (
        "| data set | training items | conversations | largest / smallest class |\n"
        "|---|---|---|---|\n"
        f"| {builder.NAME} | {category['written']:,} | {conversation['written']:,} | {ratio:.0f} |"
    )


def _statistics(labels: Sequence[str], splits: Mapping[str, Counter[str]]) -> str:
    """A Markdown table of the counts of every split; lines that are all zero are left out."""
    met = {key for count in splits.values() for key, number in count.items() if number}
    others = sorted(met - {*FIRST_LINES, *labels})
    first = [line for line in FIRST_LINES if line in met]
    table = [f"| | {' | '.join(splits)} |", "|---" * (len(splits) + 1) + "|"]
    for line in [*first[:-1], *others, *first[-1:], *labels]:
        table.append(f"| {line} | {' | '.join(f'{c[line]:,}' for c in splits.values())} |")
    return "\n".join(table)
