"""Lets mkdocstrings show docstrings in the format of Hugging Face.

There an argument is written as ``name (`type` of shape `(B, T)`, *optional*):``, which no parser of
griffe takes for a type. Here each docstring becomes Markdown before griffe sees it: one entry of a
list an argument, and ``[`Name`]`` a link where the name has a page.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import griffe

SECTIONS = {
    "Args": "Parameters",
    "Attributes": "Attributes",
    "Raises": "Raises",
    "Returns": "Returns",
    "Yields": "Yields",
    "Example": "Example",
}
HEAD = re.compile(rf"({'|'.join(SECTIONS)}):$")
ENTRY = re.compile(r"    (?P<names>[\w*][\w*, ]*?)(?: \((?P<kind>.*)\))?:(?: (?P<text>.*))?$")
REFERENCE = re.compile(r"\[`~?([\w.]+)`\](?![\[(])")
DIRECTIVE = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)
PAGES = Path(__file__).parents[1] / "api"
# Short name to the full one, of all that has a page.
DOCUMENTED = {
    path.rpartition(".")[2]: path
    for page in sorted(PAGES.glob("*.md"))
    for path in DIRECTIVE.findall(page.read_text(encoding="utf-8"))
}


class HuggingFaceDocstrings(griffe.Extension):
    """Rewrites each docstring as it is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite one."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """A docstring as Markdown."""
    text = "\n".join(lines(text))
    return REFERENCE.sub(linked, text.replace("```python\n>>>", "```pycon\n>>>"))


def lines(text: str) -> Iterator[str]:
    """Its lines, with sections as titles and arguments as entries of a list."""
    section = ""
    for line in text.splitlines():
        head = HEAD.match(line)
        if head:
            section = head[1]
            yield f"**{SECTIONS[section]}**\n"
        elif section in ("Args", "Attributes", "Raises") and (entry := ENTRY.match(line)):
            names = ", ".join(f"`{name.strip()}`" for name in entry["names"].split(","))
            kind = f" ({entry['kind']})" if entry["kind"] else ""
            yield f"- **{names}**{kind}: {entry['text'] or ''}"
        elif section and section != "Example":
            yield line.removeprefix("    ")
        else:
            yield line


def linked(found: re.Match) -> str:
    """A link to a name that has a page, else the name alone."""
    owner, _, name = found[1].rpartition(".")
    if name in DOCUMENTED:
        return f"[`{name}`][{DOCUMENTED[name]}]"
    owner = owner.rpartition(".")[2]
    if owner in DOCUMENTED:
        return f"[`{owner}.{name}`][{DOCUMENTED[owner]}.{name}]"
    return f"`{found[1]}`"
