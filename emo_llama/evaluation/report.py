"""One evaluation as a record, as lines for a terminal, and as a page.

Decides how numbers are shown: fractions in the record, per cent with their 95% interval for people,
always beside the rule, the coverage and the number of rows.
"""

import html
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

__all__ = ["as_page", "as_text", "confusion_text", "share_text", "versions"]

PACKAGES = ("emo-llama", "torch", "transformers", "datasets", "numpy")
METRICS = {"war": "WAR (accuracy)", "uar": "UAR", "macro_f1": "macro F1"}
PAGE_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #ccc;padding:.25rem .6rem;"
    "text-align:right}th:first-child,td:first-child{text-align:left}code{word-break:break-all}"
)


def versions() -> dict[str, str]:
    """Versions of what took part in an evaluation.

    Returns:
        `dict[str, str]`: By name of the package, and of Python.
    """
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def as_text(report: Mapping[str, Any]) -> str:
    """The report for a terminal.

    Args:
        report (`Mapping[str, Any]`):
            A record as `emo-llama eval --format json` prints it.

    Returns:
        `str`: Several lines.
    """
    lines = [
        f"{report['model']} on {report['data']}, split {report['split']}",
        f"{report['n']:,} rows, rule {report['rule']}, coverage {report['coverage']:.1%}, "
        f"scored by {report['scorer']}",
        "",
    ]
    lines += [f"{name:<16}{_with_interval(report, key)}" for key, name in METRICS.items()]
    lines += ["", f"{'label':<16}{'recall':>8}{'n':>8}"]
    for name, entry in report["per_class"].items():
        lines.append(f"{name:<16}{_per_cent(entry['recall']):>8}{entry['n']:>8,}")
    return "\n".join([*lines, "", confusion_text(report)])


def confusion_text(report: Mapping[str, Any]) -> str:
    """The confusion matrix for a terminal.

    Args:
        report (`Mapping[str, Any]`):
            With `labels` and `confusion`.

    Returns:
        `str`: A row a label, a column a prediction.
    """
    labels = report["labels"]
    head = "".join(f"{label[:9]:>10}" for label in labels)
    rows = [
        f"{label[:15]:<16}" + "".join(f"{count:>10,}" for count in row)
        for label, row in zip(labels, report["confusion"], strict=True)
    ]
    return "\n".join([f"{'is / named':<16}{head}", *rows])


def as_page(report: Mapping[str, Any]) -> str:
    """The report as one self-contained HTML page.

    Args:
        report (`Mapping[str, Any]`):
            A record as `emo-llama eval --format json` prints it.

    Returns:
        `str`: The page.
    """
    labels = report["labels"]
    facts = [
        ("model", report["model"]),
        ("data", report["data"]),
        ("split", report["split"]),
        ("rows", f"{report['n']:,}"),
        ("label rule", report["rule"]),
        ("coverage", f"{report['coverage']:.1%}"),
        ("scored by", report["scorer"]),
        *((name, _with_interval(report, key)) for key, name in METRICS.items()),
    ]
    recalls = [
        (name, _per_cent(entry["recall"]), f"{entry['n']:,}")
        for name, entry in report["per_class"].items()
    ]
    confusion = [
        (name, *(str(count) for count in row))
        for name, row in zip(labels, report["confusion"], strict=True)
    ]
    used = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    title = f"Evaluation of {report['model']}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{PAGE_STYLE}</style><h1>{html.escape(title)}</h1>"
        f"{_table((), facts)}"
        f"<h2>By label</h2>{_table(('label', 'recall', 'n'), recalls)}"
        f"<h2>Confusion</h2><p>A row a label, a column a prediction.</p>"
        f"{_table(('', *labels), confusion)}"
        f"<h2>Made with</h2><p><code>{html.escape(report['command'])}</code></p>"
        f"<p>{html.escape(used)}</p></html>\n"
    )


def share_text(value: float, interval: Sequence[float]) -> str:
    """A share with its 95% interval as tables show it.

    Args:
        value (`float`): In [0, 1].
        interval (`Sequence[float]`): Its lower and upper end.

    Returns:
        `str`: In per cent, for example `"84.9 [83.6, 86.1]"`.
    """
    low, high = interval
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _with_interval(report: Mapping[str, Any], key: str) -> str:
    """A metric with its 95% interval, per cent."""
    low, high = report["intervals"][key]
    return f"{report[key]:.2%}  (95%: {low:.2%} to {high:.2%})"


def _per_cent(share: float | None) -> str:
    """A share in per cent, or a dash where there is none."""
    return "-" if share is None else f"{share:.1%}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; every cell is escaped."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table>{f'<tr>{top}</tr>' if head else ''}{body}</table>"
