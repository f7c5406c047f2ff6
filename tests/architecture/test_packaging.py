"""What is installed is what lies in the folders, and the command starts fast."""

import configparser
import resource
import subprocess
import sys
from pathlib import Path

import yaml

import emo_llama

ROOT = Path(__file__).parents[2]
MAPPED = ("modeling", "dataset_builders", "recipes", "space")


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def test_every_package_is_listed() -> None:
    listed = set(setup_cfg()["options"]["packages"].split())
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "emo_llama").rglob("__init__.py")
    }
    assert listed == found | {f"emo_llama.{name}" for name in MAPPED}


def test_the_mapping_names_existing_folders() -> None:
    lines = setup_cfg()["options"]["package_dir"].strip().splitlines()
    mapping = dict(map(str.strip, line.split("=")) for line in lines)
    assert all(mapping[f"emo_llama.{name}"] == name for name in MAPPED)
    assert all((ROOT / folder / "__init__.py").is_file() for folder in mapping.values())


def test_pins_and_requirements_name_the_same_packages() -> None:
    """Every direct dependency is pinned, so that two installs are alike."""
    config = setup_cfg()
    required = config["options"]["install_requires"].split("\n")
    for extra in config["options.extras_require"].values():
        required += extra.split("\n")
    names = {_name(line) for line in required if line.strip() and not line.startswith("#")}
    pins = {
        _name(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    unpinned = names - pins
    assert not unpinned, f"not in constraints.txt: {sorted(unpinned)}"


def _name(requirement: str) -> str:
    for sign in "=<>;[":
        requirement = requirement.split(sign)[0]
    return requirement.strip().lower()


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == emo_llama.__version__
    assert f"## {emo_llama.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_help_is_fast() -> None:
    """Processor seconds: a busy machine must not decide."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "emo_llama.cli", "--help"], check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_help_of_each_verb_loads_no_model_code() -> None:
    code = (
        "import sys\n"
        "from emo_llama.cli import VERBS, build_parser\n"
        "for verb in VERBS: build_parser(verb).format_help()\n"
        "names = 'torch transformers datasets numpy mediapipe gradio'.split()\n"
        "heavy = set(names) & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
