"""An ablation as a Markdown table and as a plot."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emo_llama.evaluation.report import share_text

__all__ = ["as_markdown", "draw_plot"]

TITLES = {"face_info_mining": "FIM", "attributes": "attribute prompt", "tower": "tower"}


def as_markdown(table: Mapping[str, Any]) -> str:
    """The table for people.

    Args:
        table (`Mapping[str, Any]`):
            As [`emo_llama.training.ablation.ablate`] gives it.

    Returns:
        `str`: Markdown; per cent with 95% intervals.
    """
    reference = ", ".join(f"{TITLES[k]} {v}" for k, v in table["reference"].items())
    seeds = ", ".join(str(seed) for seed in table["seeds"])
    lines = [
        f"n = {table['n']:,} rows of the validation split, rule {table['rule']}, by the likelihood",
        f"of each label's text; seeds {seeds}. In per cent with 95% intervals (bootstrap over the",
        "rows). The difference is the accuracy of the first row minus that of the row; behind it",
        "stand, for each seed, the rows that only the one and only the other has right, and the",
        "exact p of McNemar's test.",
        "",
        f"Command: `emo-llama ablate {shlex.join(table['command'])}`, with the settings below.",
        "",
        f"Compared with: {reference}.",
        "",
        "| FIM | attribute prompt | tower | accuracy | UAR | of each seed | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table["cells"]:
        switches = " | ".join(row[name] for name in TITLES)
        scores = " | ".join(share_text(row[key], row["intervals"][key]) for key in ("war", "uar"))
        runs = ", ".join(f"{100 * run['war']:.1f}" for run in row["runs"])
        lines.append(f"| {switches} | {scores} | {runs} | {_difference(row)} |")
    return "\n".join(lines) + "\n"


def draw_plot(table: Mapping[str, Any], path: Path) -> None:
    """Draws accuracy and mean recall of each cell with their intervals.

    Args:
        table (`Mapping[str, Any]`): As in [`as_markdown`].
        path (`Path`): The picture to write; its ending says of which kind.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = table["cells"][::-1]
    names = [", ".join(f"{TITLES[name]} {row[name]}" for name in TITLES) for row in rows]
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.45 * len(rows)), layout="constrained")
    for shift, key, title in ((0.15, "war", "accuracy"), (-0.15, "uar", "UAR")):
        values = [100 * row[key] for row in rows]
        lows, highs = zip(*(row["intervals"][key] for row in rows), strict=True)
        reach = [
            [value - 100 * low for value, low in zip(values, lows, strict=True)],
            [100 * high - value for value, high in zip(values, highs, strict=True)],
        ]
        places = [at + shift for at in range(len(rows))]
        axes.errorbar(values, places, xerr=reach, fmt="o", capsize=3, label=title)
    axes.set_yticks(range(len(rows)), names)
    axes.set_xlabel(f"per cent of {table['n']:,} validation rows, 95% intervals")
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _difference(row: Mapping[str, Any]) -> str:
    """What sets a row apart from the first."""
    if "against_reference" not in row:
        return ""
    against = row["against_reference"]
    low, high = (100 * end for end in against["interval"])
    tests = "; ".join(f"{r['gained']} : {r['lost']}, p {r['p']:.2g}" for r in against["runs"])
    return f"{100 * against['difference']:+.1f} [{low:+.1f}, {high:+.1f}] ({tests})"
