"""What the documentation shows is run: docstring examples, README blocks, commands."""

import doctest
import importlib
import pkgutil
import re
import shlex
import shutil
from pathlib import Path

import pytest
from test_media import write_clip

import emo_llama
import emo_llama.dataset_builders
import emo_llama.modeling
from emo_llama.cli import build_parser, parse
from emo_llama.testing import tiny_model, tiny_processor

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PACKAGES = (emo_llama, emo_llama.modeling, emo_llama.dataset_builders)
SKIPPED = ("__main__",)  # scripts


def module_names() -> list[str]:
    names = [package.__name__ for package in PACKAGES]
    for package in PACKAGES:
        found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        names += [module.name for module in found if not module.name.endswith(SKIPPED)]
    return sorted(set(names))


class FenceParser(doctest.DocTestParser):
    """Reads examples inside fenced blocks, as transformers writes them."""

    def parse(self, string: str, name: str = "<string>") -> list:
        return super().parse(re.sub(r"^\s*```.*$", "", string, flags=re.MULTILINE), name)


@pytest.mark.parametrize("name", module_names())
def test_docstring_examples(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in doctest.DocTestFinder(parser=FenceParser()).find(module, name):
        runner.run(example)
    assert runner.failures == 0


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [code for kind, code in BLOCK.findall(text) if kind == language]


def test_readme_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    model = tmp_path / "model"
    tiny_model().save_pretrained(model)
    tiny_processor().save_pretrained(model)
    monkeypatch.setattr("emo_llama.loading.EMBEDDED_MODEL", model)
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "emo_llama" / "assets" / "portrait.jpg", "photo.jpg")
    write_clip(Path("clip.mp4"))
    (code,) = blocks("README.md", "python")
    exec(compile(code, "README.md", "exec"), {})
    assert "The person looks" in capsys.readouterr().out


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "docs/data.md", "docs/training.md"]
)
def test_commands_in_documents_exist(document: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in "\n".join(blocks(document, "")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["emo-llama"]:
            assert parse(words[1:]).verb == words[1]
        if "emo_llama.cli" in words:  # by a launcher
            launched = words[words.index("emo_llama.cli") + 1 :]
            assert parse(launched).verb == launched[0]
            if "--config_file" in words:
                assert (ROOT / words[words.index("--config_file") + 1]).is_file()
        if words[:1] == ["make"]:
            assert f"\n{words[1]}:" in makefile, line


def test_commands_in_help_exist() -> None:
    from emo_llama.cli import VERBS

    for verb in VERBS:
        parser = build_parser(verb)
        choices = next(a.choices for a in parser._actions if isinstance(a.choices, dict))
        for line in (choices[verb].epilog or "").splitlines():
            command = re.split(r"\s{2,}", line.strip())[0]  # what follows explains it
            if command.startswith("emo-llama"):
                assert parse(shlex.split(command)[1:]).verb == verb
