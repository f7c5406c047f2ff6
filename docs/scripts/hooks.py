"""What `mkdocs build` takes from elsewhere than this folder.

Pages of the command line are written from its parser. README's neighbours (model card, security,
contributing, changes) become pages as they are, with their links turned to the site's. Drawings
are put into the page itself, so that they follow its colours.
"""

import argparse
import configparser
import posixpath
import re
import tempfile
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from emo_llama.cli import VERBS, build_parser

ROOT = Path(__file__).parents[2]
# Files beside `docs/`, and where the site has them.
NEIGHBOURS = {
    "MODEL_CARD.md": "about/model-card.md",
    "SECURITY.md": "about/security.md",
    "CONTRIBUTING.md": "about/contributing.md",
    "CHANGELOG.md": "about/changelog.md",
    "LICENSE": "about/LICENSE.txt",
    "LICENSES.md": "about/licences.md",
    "README.md": "index.md",
    "examples/build_one_part.py": "examples/build_one_part.py",
}
USAGE_WIDTH = 80  # characters
TREE = tempfile.TemporaryDirectory(prefix="emo-llama-docs-")
# What stands behind the language of a block says what it needs; tests/walkthrough.py reads it.
MARK = re.compile(r"^```(\w+) (\w+)$", re.MULTILINE)
MARKS = {
    "gpus": "needs GPUs",
    "licensed": "needs files that you obtain yourself",
    "network": "needs the network",
    "onnx": "needs onnx and onnxscript",
    "serves": "runs until it is interrupted",
}
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+)((?:#[^)\s]*)?)\)")
DRAWING = re.compile(r'<img alt="[^"]*" src="[^"]*?images/([\w-]+\.svg)"[^>]*/?>')


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config: MkDocsConfig) -> None:
    """Put the pages of the command line into the navigation, and say where the sources are."""
    sources = config.plugins["mkdocstrings"].config.handlers.setdefault("python", {})
    sources["paths"] = [installed_tree()]
    pages = [{"Overview": "cli/index.md"}, *({verb: f"cli/{verb}.md"} for verb in VERBS)]
    for section in config.nav:
        if "Command line" in section:
            section["Command line"] = pages


def installed_tree() -> str:
    """A folder in which the package lies as it is installed: griffe reads files and imports none.

    `modeling/` lies beside the package here and within it there.
    """
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    folders = dict(
        line.split(" = ") for line in setup["options"]["package_dir"].split("\n") if line
    )
    tree = Path(TREE.name)
    for package, folder in sorted(folders.items()):
        place = tree.joinpath(*package.split("."))
        place.mkdir(parents=True, exist_ok=True)
        for file in (ROOT / folder).iterdir():
            if not (place / file.name).exists():
                (place / file.name).symlink_to(file)
    return str(tree)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are written here."""
    for source, target in NEIGHBOURS.items():
        if target != "index.md":
            path = str(ROOT / source)
            files.append(File.generated(config, target, abs_src_path=path))
    files.append(File.generated(config, "cli/index.md", content=overview()))
    for verb in VERBS:
        files.append(File.generated(config, f"cli/{verb}.md", content=command_page(verb)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links to files beside `docs/` into the site's, and marks of blocks into titles."""
    target = page.file.src_uri
    source = next((name for name, uri in NEIGHBOURS.items() if uri == target), f"docs/{target}")
    if source == "README.md":  # the site has a first page of its own
        source = "docs/index.md"

    def site_link(found: re.Match) -> str:
        named = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[2]))
        uri = NEIGHBOURS.get(named) or named.removeprefix("docs/")
        if named not in NEIGHBOURS and not named.startswith("docs/"):
            return found[1]  # the site does not have it
        link = posixpath.relpath(uri, posixpath.dirname(target) or ".") + found[3]
        return f"[{found[1]}]({link})"

    titled = MARK.sub(lambda found: f'```{found[1]} title="{MARKS[found[2]]}"', markdown)
    return LINK.sub(site_link, titled)


def on_page_content(html: str, **_: object) -> str:
    """Put drawings into the page."""

    def drawing(found: re.Match) -> str:
        text = (ROOT / "docs" / "images" / found[1]).read_text(encoding="utf-8")
        return f'<div class="drawing" tabindex="0">{text[text.index("<svg") :]}</div>'

    return DRAWING.sub(drawing, html)


def overview() -> str:
    """The page that lists the verbs."""
    parser = build_parser()
    rows = "\n".join(f"| [`{verb}`]({verb}.md) | {text} |" for verb, (_, text) in VERBS.items())
    return f"""# The command `emo-llama`

{parser.description} `emo-llama VERB --help` prints the same as these pages.

| verb | does |
|---|---|
{rows}

Data goes to stdout, messages and progress bars to stderr. Exit status: 0 done, 1 some inputs failed
(each named, the rest done), 2 wrong usage. Nothing is downloaded unless a Hub repository is named.
"""


def command_page(verb: str) -> str:
    """The page of one verb, with its actions if it has any."""
    verbs = next(action.choices for action in build_parser(verb)._actions if action.choices)
    return f"# `emo-llama {verb}`\n\n" + "\n".join(described(verbs[verb], level=2))


def described(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    """Lines of Markdown that say what a parser takes."""
    parser.formatter_class = partial(argparse.RawDescriptionHelpFormatter, width=USAGE_WIDTH)
    yield f"{parser.description or ''}\n"
    usage = textwrap.dedent(" " * len("usage: ") + parser.format_usage().removeprefix("usage: "))
    yield f"```text\n{usage.rstrip()}\n```\n"
    children = []
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.dest != "help"]
        if not actions:
            continue
        if group.title not in ("options", "positional arguments"):
            yield f"{'#' * level} {group.title[0].upper()}{group.title[1:]}\n"
            yield f"{group.description or ''}\n"
        for action in actions:
            if isinstance(action, argparse._SubParsersAction):
                helps = {choice.dest: choice.help for choice in action._choices_actions}
                children += [(child, helps[name]) for name, child in action.choices.items()]
            else:
                yield from option(parser, action)
    for child, text in children:
        yield f"{'#' * level} `{child.prog}`\n"
        child.description = child.description or f"{text[0].upper()}{text[1:]}."
        yield from described(child, level + 1)
    if parser.epilog:
        title, _, text = parser.epilog.partition("\n")
        yield f"{'#' * level} {title.rstrip(':').capitalize()}\n"
        lines = text.splitlines()
        commands = [line.strip() for line in lines if line.startswith("  ")]
        rest = " ".join(line for line in lines if not line.startswith("  "))
        yield "```sh\n" + "\n".join(commands) + f"\n```\n\n{escaped(rest)}\n"


def option(parser: argparse.ArgumentParser, action: argparse.Action) -> Iterator[str]:
    """One option or argument as an entry of a definition list."""
    formatter = parser._get_formatter()
    metavar = formatter._get_default_metavar_for_optional(action)
    value = formatter._format_args(action, metavar) if action.nargs != 0 else ""
    names = ", ".join(action.option_strings)
    required = " (required)" if action.required and action.option_strings else ""
    yield f"`{f'{names} {value}'.strip()}`{required}"
    text = formatter._expand_help(action) if action.help else ""
    yield f":   {escaped(text)}\n"


def escaped(text: str) -> str:
    """Help as Markdown: options as code, and nothing else of it read as markup."""
    text = re.sub(r"([*_<>|\[\]])", r"\\\1", text)
    return re.sub(r"(?<![\w`-])(--[a-z][\w-]*)", r"`\1`", text)
