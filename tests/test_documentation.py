"""What the documentation shows is run: docstring examples, README blocks, commands."""

import doctest
import importlib
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_media import write_clip
from walkthrough import DOCUMENTS, PORTRAIT

import emo_llama
import emo_llama.dataset_builders
import emo_llama.modeling
from emo_llama.cli import build_parser, parse
from emo_llama.hub.card import model_card
from emo_llama.loading import EMBEDDED_MODEL
from emo_llama.prompts import conversation_question
from emo_llama.recognition.recognizer import EmotionRecognizer
from emo_llama.testing import tiny_config, tiny_model, tiny_processor

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PACKAGES = (emo_llama, emo_llama.modeling, emo_llama.dataset_builders)
SKIPPED = ("__main__", "facial_expression.app")  # scripts


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


def blocks(document: str, *languages: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [code for kind, code in BLOCK.findall(text) if kind.split(" ")[0] in languages]


def test_readme_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    model = tmp_path / "model"
    tiny_model().save_pretrained(model)
    tiny_processor().save_pretrained(model)
    monkeypatch.setattr("emo_llama.loading.EMBEDDED_MODEL", model)
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "emo_llama" / "assets" / "portrait.jpg", "photo.jpg")
    write_clip(Path("clip.mp4"))
    code, _ = blocks("README.md", "python")
    exec(compile(code, "README.md", "exec"), {})
    assert "The person looks" in capsys.readouterr().out


@pytest.mark.parametrize("document", [*DOCUMENTS, "CONTRIBUTING.md"])
def test_commands_in_documents_exist(document: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    shown = "\n".join(blocks(document, "", "sh")).replace("\\\n", " ")  # one command, two lines
    for line in shown.splitlines():
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


QUESTION = re.compile(r'''(?:--question|\.ask\([^,)]*,|"type": "text", "text":) *"([^"]+)"''')


def questions() -> list[str]:
    """Every question that README, docs and cards show."""
    texts = [(ROOT / document).read_text(encoding="utf-8") for document in DOCUMENTS]
    texts += [(ROOT / "MODEL_CARD.md").read_text(encoding="utf-8")]
    texts += [model_card("any", tiny_config(), 1)]
    texts += [(EMBEDDED_MODEL / "README.md").read_text(encoding="utf-8")]
    return sorted({found for text in texts for found in QUESTION.findall(text)})


@pytest.fixture(scope="module")
def shipped() -> EmotionRecognizer:
    return EmotionRecognizer.from_pretrained()


def test_questions_are_found():
    assert {"What does the mouth show?", conversation_question()} <= set(questions())


@pytest.mark.parametrize("question", questions())
def test_the_shipped_model_answers_what_the_documents_ask(shipped, question):
    """An answer is about what was asked, true of the portrait, and says nothing twice."""
    answer = shipped.ask(PORTRAIT, question)
    asked = [part for part in ("mouth", "eyes", "brows") if part in question]
    sentences = [sentence.strip() for sentence in answer.split(".") if sentence.strip()]
    assert sentences and len(set(sentences)) == len(sentences), answer
    assert not re.search(r"\b(\w+) \1\b", answer, re.IGNORECASE), answer
    if asked:
        assert sentences[0].lower().startswith(f"the {asked[0]}"), answer
    else:
        assert answer.startswith("The person looks happy"), answer
    assert "corners are low" not in answer and "mouth is closed" not in answer, answer


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_runs_in_an_empty_folder(document, tmp_path):
    words = [sys.executable, ROOT / "tests" / "walkthrough.py", "--only", document, tmp_path]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_commands_in_help_exist() -> None:
    from emo_llama.cli import VERBS

    for verb in VERBS:
        parser = build_parser(verb)
        choices = next(a.choices for a in parser._actions if isinstance(a.choices, dict))
        for line in (choices[verb].epilog or "").splitlines():
            command = re.split(r"\s{2,}| > ", line.strip())[0]  # what follows explains it
            if command.startswith("emo-llama"):
                words = shlex.split(command)[1:]
                assert parse(words).verb == words[0]  # mostly the verb itself
