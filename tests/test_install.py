"""What `pip install emo-llama` brings to whoever has nothing yet, without this project's pins."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from test_remote_code import HIDDEN
from walkthrough import commands, furnish

import emo_llama

ROOT = Path(__file__).parents[1]
PORTRAIT = ROOT / "emo_llama" / "assets" / "portrait.jpg"
FOLDERS = ("emo_llama", "modeling", "dataset_builders", "recipes", "space")
LICENCES = ("LICENSE", "LICENSES.md")
PAPERS = ("README.md", "CHANGELOG.md", "CITATION.cff", "MODEL_CARD.md", "SECURITY.md", *LICENCES)
SETTINGS = ("setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "constraints.txt")
SOURCES = (*FOLDERS, *PAPERS, *SETTINGS)
BUILD = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"
LINK = re.compile(r"\]\(([^)]*)\)")
# What belongs to this environment, not to that of a user. Without bytecode, which is written at the
# first import, every command would compile all that it imports.
ELSEWHERE = ("PYTHONPATH", "PIP_CONSTRAINT", "PYTHONDONTWRITEBYTECODE")
MAX_WHEEL = 30_000_000
"""Bytes; the shipped model is most of it."""

CLIENT = """
import json

from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

folder, picture, *questions = sys.argv[1:]
face = Image.open(picture).convert("RGB").crop((170, 70, 280, 180))
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
options = {"max_new_tokens": 24, "do_sample": False}


def ask(*conversations):
    inputs = processor.apply_chat_template(
        list(conversations),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )
    new = model.generate(**inputs, **options)[:, inputs["input_ids"].shape[1] :]
    return processor.batch_decode(new, skip_special_tokens=True)


conversations = [
    [{"role": "user", "content": [{"type": "image", "image": face}, {"type": "text", "text": q}]}]
    for q in questions
]
chat = pipeline("image-text-to-text", model=folder, trust_remote_code=True)
piped = chat(text=conversations[0], generate_kwargs=options, return_full_text=False)
print(
    json.dumps(
        {
            "alone": [ask(one)[0] for one in conversations],
            "together": ask(*conversations),
            "pipeline": piped[0]["generated_text"],
        }
    )
)
"""


def requirements() -> list[str]:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    groups = [settings["options"]["install_requires"], *settings["options.extras_require"].values()]
    lines = "\n".join(groups).splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("requirement", requirements())
def test_every_dependency_has_both_bounds(requirement: str) -> None:
    assert re.search(r"==|>=[\d.]+,<[\d.]+", requirement), requirement


def alone(home: Path) -> dict[str, str]:
    """The environment of somebody who has nothing but what is installed."""
    kept = {k: v for k, v in os.environ.items() if k not in ELSEWHERE}
    return kept | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "home")}


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=alone(cwd), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive and its wheel; in `direct` the wheel of the sources here."""
    pytest.importorskip("setuptools", minversion="77")
    root = tmp_path_factory.mktemp("built")
    source = root / "source"
    source.mkdir()  # a copy, as setuptools leaves its build folder beside the sources
    leave = shutil.ignore_patterns("__pycache__")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=leave)
        else:
            shutil.copyfile(ROOT / name, source / name)
    run(sys.executable, "-c", BUILD.format("sdist"), root, cwd=source)
    run(sys.executable, "-c", BUILD.format("wheel"), root / "direct", cwd=source)
    (archive,) = root.glob("emo_llama-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(root / "unpacked", filter="data")
    (unpacked,) = (root / "unpacked").iterdir()
    run(sys.executable, "-c", BUILD.format("wheel"), root, cwd=unpacked)
    return root


def wheel_in(folder: Path) -> Path:
    (wheel,) = folder.glob("emo_llama-*.whl")
    return wheel


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


@pytest.mark.slow
def test_the_wheel_holds_all_that_lies_in_the_folders(built: Path) -> None:
    """The shipped model, the Space, the metric and the recipes, byte for byte."""
    expected = {}
    for folder in FOLDERS:
        inside = "emo_llama" if folder == "emo_llama" else f"emo_llama/{folder}"
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected[f"{inside}/{path.relative_to(ROOT / folder).as_posix()}"] = path
    found = contents(wheel_in(built))
    info = {name for name in found if ".dist-info/" in name}
    assert found.keys() - info == expected.keys()
    assert all(found[name] == path.read_bytes() for name, path in expected.items())
    assert {name.rpartition("licenses/")[2] for name in info if "licenses/" in name} == {*LICENCES}
    assert wheel_in(built).stat().st_size < MAX_WHEEL


@pytest.mark.slow
def test_the_description_is_the_readme_without_links_that_lead_nowhere(built: Path) -> None:
    found = contents(wheel_in(built))
    shown = next(text for name, text in found.items() if name.endswith("METADATA")).decode()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [link for link in LINK.findall(shown) if not link.startswith("https://")] == []
    assert LINK.findall(shown) == [link for link in LINK.findall(readme) if "://" in link]
    assert "<img" in readme and "<img" not in shown
    assert "## Train your own" in shown and "Description-Content-Type: text/markdown" in shown


@pytest.mark.slow
def test_the_source_archive_gives_the_same_wheel(built: Path) -> None:
    assert contents(wheel_in(built)) == contents(wheel_in(built / "direct"))
    with tarfile.open(next(built.glob("*.tar.gz"))) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert set(PAPERS) <= names
    assert not {name.split("/")[0] for name in names} & {"tests", "build", ".venv"}


@pytest.mark.slow
def test_everything_that_is_loaded_states_its_licence(built: Path) -> None:
    found = contents(wheel_in(built))
    cards = [name for name in found if name.endswith("README.md") and "assets/README" not in name]
    assert len(cards) >= 3  # the model, the metric, the Space
    for name in cards:
        assert re.search(r"^license: \S+$", found[name].decode(), re.MULTILINE), name
    notes = found["emo_llama/assets/README.md"].decode()
    shipped = {name.split("/")[2] for name in found if name.startswith("emo_llama/assets/")}
    assert all(f"`{name}" in notes for name in shipped - {"README.md"}), notes
    info = next(text for name, text in found.items() if name.endswith("METADATA")).decode()
    assert re.search(r"^License(-Expression)?: Apache-2.0$", info, re.MULTILINE)


def borrow_torch(site_packages: Path) -> None:
    """Links to the torch that is installed here: the only part that is not fetched."""
    here = Path(torch.__file__).parents[1]
    for name in ("torch", "torchgen", "functorch"):
        (site_packages / name).symlink_to(here / name)
    (found,) = here.glob("torch-*.dist-info")
    (site_packages / found.name).symlink_to(found)


QUIET = ("--quiet", "--disable-pip-version-check", "--no-compile")


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with the wheel and what pip chooses for it."""
    if torch.version.cuda:
        pytest.skip("torch is a CUDA build here: its parts are gigabytes to fetch")
    root = tmp_path_factory.mktemp("installed")
    asked = [sys.executable, "-m", "pip", "index", "versions", "tqdm"]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("no package index is reached")
    venv.create(root / "venv", with_pip=True)
    python = root / "venv" / "bin" / "python"
    borrow_torch(next((root / "venv" / "lib").glob("python*/site-packages")))
    run(python, "-m", "pip", "install", *QUIET, wheel_in(built), cwd=root)
    return python


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_doctor_finds_the_base_whole_and_the_rest_absent(
    installed: Path, tmp_path: Path
) -> None:
    command = installed.with_name("emo-llama")
    report = json.loads(run(command, "doctor", "--format", "json", cwd=tmp_path))
    assert report["works"] and report["version"] == emo_llama.__version__
    states = {(check["part"], check["name"]): check for check in report["checks"]}
    assert states["base", "transformers"]["state"] == states["machine", "model"]["state"] == "ok"
    assert states["space", "gradio"]["state"] == "absent"
    assert states["space", "gradio"]["advice"] == 'pip install "emo-llama[space]"'


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_first_lines_of_the_readme_work(installed: Path, tmp_path: Path) -> None:
    """All that need no extra: to the first training."""
    furnish(tmp_path)
    done = []
    for needs, command in commands("README.md"):
        if command.startswith("emo-llama train"):
            break
        if needs:
            continue
        words = [installed, "-c", command]
        if "\n" not in command:
            words = ["sh", "-c", command.replace("emo-llama", f"{installed.parent}/emo-llama", 1)]
        done.append((command, run(*words, cwd=tmp_path)))
    assert len(done) >= 5
    assert "happiness" in dict(done)["emo-llama predict photo.jpg"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", ["newest", "5.23.0"])
def test_the_wheel_alone_predicts_exports_and_is_loaded(
    installed: Path, version: str, tmp_path: Path
) -> None:
    from emo_llama.labels import FERPLUS
    from emo_llama.prompts import category_question, conversation_question

    if version != "newest":
        wanted = f"transformers=={version}"
        run(installed, "-m", "pip", "install", "--quiet", "--no-compile", wanted, cwd=tmp_path)
    command = installed.with_name("emo-llama")
    record = json.loads(run(command, "predict", PORTRAIT, "--format", "jsonl", cwd=tmp_path))
    assert record["faces"][0]["label"] == "happiness"
    run(command, "export", tmp_path / "hub", cwd=tmp_path)
    client = tmp_path / "client.py"
    client.write_text(HIDDEN + CLIENT)
    questions = [category_question(FERPLUS), conversation_question(), "What does the mouth show?"]
    words = ["-I", client, tmp_path / "hub", PORTRAIT, *questions]
    said = json.loads(run(installed, *words, cwd=tmp_path))
    assert said["alone"][0] == said["pipeline"] == "happiness"
    assert said["together"] == said["alone"]
    assert said["alone"][1].startswith("The person looks happy")


@contextmanager
def served(installed: Path, folder: Path) -> Iterator[str]:
    """The Space of an installation; gives its address."""
    process = subprocess.Popen(
        [installed.with_name("emo-llama"), "space"],
        cwd=folder,
        env=alone(folder) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield next(line.split()[-1] for line in process.stdout if "http://" in line)
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_with_its_extras_the_space_answers_and_the_metric_loads(
    installed: Path, built: Path, tmp_path: Path
) -> None:
    wanted = f"{wheel_in(built)}[space,evaluate]"
    run(installed, "-m", "pip", "install", *QUIET, wanted, cwd=tmp_path)
    client = tmp_path / "client.py"
    client.write_text(
        "import sys\n"
        "from gradio_client import Client, handle_file\n"
        "page = Client(sys.argv[1], verbose=False)\n"
        "print(page.predict(handle_file(sys.argv[2]), api_name='/photo'))\n"
    )
    with served(installed, tmp_path) as address:
        assert "happiness" in run(installed, "-I", client, address, PORTRAIT, cwd=tmp_path)
    metric = tmp_path / "metric.py"
    metric.write_text(
        "import emo_llama.evaluation.metrics.facial_expression as package\n"
        "import evaluate\n"
        "metric = evaluate.load(package.__path__[0])\n"
        "print(metric.compute(predictions=['a', None], references=['a', 'a'])['war'])\n"
    )
    assert run(installed, "-I", metric, cwd=tmp_path).split() == ["0.5"]
    report = run(installed.with_name("emo-llama"), "doctor", "--format", "json", cwd=tmp_path)
    checks = json.loads(report)["checks"]
    assert {c["state"] for c in checks if c["part"] in ("space", "evaluate")} == {"ok"}
