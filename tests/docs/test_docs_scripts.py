"""What the site's scripts write: pages of the command line, and docstrings as Markdown."""

import argparse
import html
import importlib.util
import re
from importlib import import_module
from pathlib import Path

import pytest

import emo_llama
import emo_llama.modeling
from emo_llama.cli import VERBS, build_parser

DOCS = Path(__file__).parents[2] / "docs"
OPTION = re.compile(r"(?<![\w-])--?[a-z][\w-]*")


def script(name: str, *needs: str):
    for package in needs:
        pytest.importorskip(
            package, reason=f"the site needs {package}: pip install emo-llama[docs]"
        )
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def helps(parser: argparse.ArgumentParser) -> list[str]:
    """What `--help` prints of a verb and of each of its actions."""
    texts = [parser.format_help()]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts += [text for child in action.choices.values() for text in helps(child)]
    return texts


@pytest.mark.parametrize("verb", VERBS)
def test_a_page_of_the_command_line_holds_what_help_prints(verb):
    markdown = pytest.importorskip("markdown", reason="the site needs mkdocs")
    page = script("hooks", "mkdocs").command_page(verb)
    shown = markdown.markdown(page, extensions=["def_list", "fenced_code"])
    terms = html.unescape(" ".join(re.findall(r"<dt>(.*?)</dt>", shown)))
    verbs = build_parser(verb)._subparsers._group_actions[0].choices
    texts = helps(verbs[verb])
    options = {option for text in texts for option in OPTION.findall(text)}
    listed = set(OPTION.findall(terms))
    usage = {option for text in texts for option in OPTION.findall(text.split("\n\n")[0])}
    assert usage - {"-h"} <= listed <= options, verb
    plain = " ".join(html.unescape(re.sub(r"<[^>]+>", "", shown)).split()).lower()
    titles = {"positional", "arguments:", *argparse.ArgumentParser().format_help().split()}
    for text in texts:  # every word of help, wherever it was wrapped
        words = text.split("\n\n", 1)[1].replace("-\n", "-").split()
        assert {word for word in words if word.strip("(),.:;`").lower() not in plain} <= titles


def test_the_overview_names_every_verb():
    text = script("hooks", "mkdocs").overview()
    assert [verb for verb in VERBS if f"[`{verb}`]({verb}.md)" not in text] == []


def test_help_is_no_markup():
    hooks = script("hooks", "mkdocs")
    assert hooks.escaped("a <b> of *c*, see --no-text") == r"a \<b\> of \*c\*, see `--no-text`"


def test_links_to_neighbours_become_links_of_the_site():
    class Found:
        src_uri = "data.md"

    class Page:
        file = Found

    turned = script("hooks", "mkdocs").on_page_markdown(
        "[a](../SECURITY.md#reporting) [b](training.md) [c](https://arxiv.org/abs/1)", page=Page
    )
    assert (
        turned == "[a](about/security.md#reporting) [b](training.md) [c](https://arxiv.org/abs/1)"
    )
    marked = "```sh network\nhf\n```\n"
    turned = script("hooks", "mkdocs").on_page_markdown(marked, page=Page)
    assert turned == '```sh title="needs the network"\nhf\n```\n'
    Found.src_uri = "about/model-card.md"
    turned = script("hooks", "mkdocs").on_page_markdown(
        "![a](docs/ablation.png) [b](README.md) [c](tests/conftest.py)", page=Page
    )
    assert turned == "![a](../ablation.png) [b](../index.md) c"


def test_docstrings_become_markdown():
    text = """Mine.

Args:
    config ([`EmoLlamaConfig`]): Widths: both.
    mask (`torch.BoolTensor` of shape `(N,)`, *optional*, defaults to `"a:b"`):
        False where
        there is no face.

Returns:
    `torch.FloatTensor` of shape `(N, F, D)`: Global first. As [`~unknown.Name`] says.

Raises:
    UsageError: It is wrong.

Example:
```python
>>> 1 + 1
2
```
"""
    assert script("docstrings", "griffe").as_markdown(text).splitlines() == [
        "Mine.",
        "",
        "**Parameters**",
        "",
        "- **`config`** ([`EmoLlamaConfig`][emo_llama.modeling.configuration_emo_llama."
        "EmoLlamaConfig]): Widths: both.",
        '- **`mask`** (`torch.BoolTensor` of shape `(N,)`, *optional*, defaults to `"a:b"`): ',
        "    False where",
        "    there is no face.",
        "",
        "**Returns**",
        "",
        "`torch.FloatTensor` of shape `(N, F, D)`: Global first. As `unknown.Name` says.",
        "",
        "**Raises**",
        "",
        "- **`UsageError`**: It is wrong.",
        "",
        "**Example**",
        "",
        "```pycon",
        ">>> 1 + 1",
        "2",
        "```",
    ]


def test_public_names_have_a_page():
    documented = script("docstrings", "griffe").DOCUMENTED
    public = {*emo_llama.__all__, *emo_llama.modeling.__all__} - {"__version__"}
    assert public <= documented.keys()
    for name, path in documented.items():
        module = path if name == "errors" else path.rpartition(".")[0]
        assert name == "errors" or hasattr(import_module(module), name), path


def test_the_drawing_shows_the_default_sizes():
    """What it says of clues and landmarks is what the configuration says."""
    config = emo_llama.modeling.EmoLlamaConfig()
    texts = re.findall(
        r"<text[^>]*>([^<]+)", (DOCS / "images" / "face-info-mining.svg").read_text()
    )
    face, side = config.face_config, config.fim_config.pool_size
    told = (
        f"({face.num_task_tokens}, d), one a task",
        f"({face.num_landmarks}, 2), x and y in [-1, 1]",
        f"task tokens, and the map pooled to {side} × {side}",
        f"{face.num_task_tokens} + {side**2} clues",
        f"{face.num_landmarks} clues",
    )
    assert [text for text in told if text not in texts] == []
