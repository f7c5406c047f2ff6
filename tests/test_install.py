"""What `pip install emo-llama` brings to whoever has nothing yet, without this project's pins."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch
from test_remote_code import HIDDEN

ROOT = Path(__file__).parents[1]
PORTRAIT = ROOT / "emo_llama" / "assets" / "portrait.jpg"
SOURCES = [
    *("setup.cfg", "pyproject.toml", "README.md", "LICENSE"),
    *("emo_llama", "modeling", "dataset_builders", "recipes"),
]

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


def run(*command: object, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PIP_CONSTRAINT")}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cwd / "home")}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def borrow_torch(site_packages: Path) -> None:
    """Links to the torch that is installed here: the only part that is not fetched."""
    here = Path(torch.__file__).parents[1]
    for name in ("torch", "torchgen", "functorch"):
        (site_packages / name).symlink_to(here / name)
    (found,) = here.glob("torch-*.dist-info")
    (site_packages / found.name).symlink_to(found)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and what pip chooses for it."""
    if torch.version.cuda:
        pytest.skip("torch is a CUDA build here: its parts are gigabytes to fetch")
    root = tmp_path_factory.mktemp("installed")
    asked = [sys.executable, "-m", "pip", "index", "versions", "tqdm"]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("no package index is reached")
    venv.create(root / "venv", with_pip=True)
    python = root / "venv" / "bin" / "python"
    borrow_torch(next((root / "venv" / "lib").glob("python*/site-packages")))
    quiet = ["--quiet", "--disable-pip-version-check"]
    (root / "source").mkdir()  # a copy, as setuptools leaves its build folder beside the sources
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, root / "source" / name)
    run(python, "-m", "pip", "wheel", *quiet, "--no-deps", "-w", root, root / "source", cwd=root)
    (wheel,) = root.glob("emo_llama-*.whl")
    run(python, "-m", "pip", "install", *quiet, "--no-compile", wheel, cwd=root)
    return python


@pytest.mark.slow
@pytest.mark.timeout(900)
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
