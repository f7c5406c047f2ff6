"""The site builds without a warning, and its pages load nothing from other hosts."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from emo_llama.cli import VERBS

ROOT = Path(__file__).parents[2]
# Elements whose address is fetched without a click. `<link rel=canonical>` and the like are not.
FETCHED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "video": "src"}
FETCHED |= {"audio": "src", "embed": "src", "object": "data", "link": "href"}
LINKS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch"}
OUTSIDE = re.compile(r"^(?:[a-z]+:)?//", re.IGNORECASE)


class Addresses(HTMLParser):
    """What a browser would fetch for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        named = dict(attrs)
        if tag == "link" and not LINKS & set((named.get("rel") or "").split()):
            return
        self.found += [named.get(FETCHED.get(tag, "")) or "", *styles(named.get("style") or "")]
        self.found += [part.split()[0] for part in (named.get("srcset") or "").split(",") if part]

    def handle_data(self, data: str) -> None:
        if self.get_starttag_text() == "<style>":
            self.found += styles(data)


def styles(text: str) -> list[str]:
    """What a style sheet fetches."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return re.findall(r"""(?:url\(|@import)\s*["']?([^"')]+)""", text)


def outside(site: Path) -> list[str]:
    """Every address of another host that some page or style sheet fetches."""
    found = []
    for path in sorted(site.rglob("*")):
        if path.suffix == ".html":
            page = Addresses()
            page.feed(path.read_text(encoding="utf-8"))
            fetched = page.found
        elif path.suffix in (".css", ".svg"):
            fetched = styles(path.read_text(encoding="utf-8"))
        else:
            continue
        found += [f"{path.relative_to(site)}: {url}" for url in fetched if OUTSIDE.match(url)]
    return found


def test_addresses_of_other_hosts_are_seen(tmp_path):
    page = (
        '<img src="a.png"><link rel="canonical" href="https://h/p"><script src="//h/s.js"></script>'
    )
    page += '<link rel="preconnect" href="https://h/"><style>@import "https://h/c.css";</style>'
    (tmp_path / "p.html").write_text(page)
    (tmp_path / "c.css").write_text("a{b:url(data:x)}@font-face{src:url('http://h/f.woff')}")
    assert [line.split(": ")[1] for line in outside(tmp_path)] == [
        "http://h/f.woff",
        "//h/s.js",
        "https://h/",
        "https://h/c.css",
    ]


@pytest.mark.slow
@pytest.mark.skipif(
    not importlib.util.find_spec("material") or not importlib.util.find_spec("mkdocstrings"),
    reason="the site needs mkdocs-material and mkdocstrings: pip install emo-llama[docs]",
)
def test_the_site_builds_without_a_warning(tmp_path):
    site = tmp_path / "site"
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    settings = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # see the Makefile
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=settings)
    assert done.returncode == 0, done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if not line.startswith("INFO")] == []
    told = [line for line in lines if "contains" in line or "not included" in line]
    assert told == []  # what mkdocs says of doubtful links
    assert outside(site) == []
    raw = [path.name for path in site.rglob("*.html") if "```" in path.read_text(encoding="utf-8")]
    assert raw == []  # a block that was not recognised as one
    recognizer = (site / "api" / "recognizer.html").read_text(encoding="utf-8")
    assert 'EmotionRecognizer.ask"' in recognizer and 'Recognizer.__call__"' in recognizer
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    assert pages >= {"index.html", "cli/index.html", *(f"cli/{verb}.html" for verb in VERBS)}
