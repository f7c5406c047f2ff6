"""Models come from folders that nobody has vetted: nothing in them is run, and all is bounded."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from model_corpus import REFUSED, SOUND, both, code, config, edit

from emo_llama.conversion.checkpoints import shard_files
from emo_llama.conversion.parts import LanguagePart
from emo_llama.errors import DataFormatError, ModelNotFoundError
from emo_llama.loading import find_model, load_model
from emo_llama.testing import tiny_model, tiny_processor

PORTRAIT = Path(__file__).parents[1] / "emo_llama" / "assets" / "portrait.jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound model folder."""
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_processor().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


class Listener:
    """Counts who connects to a port of this machine."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.connections = 0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                self.socket.accept()[0].close()
            except OSError:
                return
            self.connections += 1


@pytest.mark.slow
def test_no_folder_runs_code_asks_the_network_or_takes_the_machine_down(tmp_path: Path) -> None:
    """Over a hundred hostile folders, each loaded and asked about a picture, `yes` on stdin."""
    listener = Listener()
    proxies = dict.fromkeys(("HF_ENDPOINT", "http_proxy", "https_proxy"), listener.address)
    yes = subprocess.Popen(["yes"], stdout=subprocess.PIPE)
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("model_corpus.py"), tmp_path],
        stdin=yes.stdout,
        capture_output=True,
        text=True,
        timeout=900,
        env=os.environ | proxies | {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")},
    )
    yes.kill()
    yes.communicate()
    assert done.returncode == 0, done.stderr[-2000:]
    found = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == REFUSED.keys() | SOUND.keys()
    assert len(found) > 120
    assert [name for name, line in found.items() if "raised" in line or line["opened"]] == []
    assert [name for name in REFUSED if "refused" not in found[name]] == []
    label = found["unchanged"]["label"]
    assert [name for name in SOUND if found[name].get("label") != label] == []
    assert max(line["seconds"] for line in found.values()) < 30
    assert not (tmp_path / "ran").exists()
    assert listener.connections == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tokenizer with code", "code of a folder is never run"),
        ("attention from a repository", "attn_implementation is 'team/kernel'"),
        ("index upward", "plain names that end in .safetensors, got '../outside.safetensors'"),
        ("index to a device", "got '/dev/zero'"),
        ("weights a link outward", "leads out of the folder"),
        ("weights NaN", "lm_head.weight holds NaN"),
        ("weights of integers", "lm_head.weight is of torch.int32"),
        ("temperature zero", "label_temperature must be above 0"),
        ("3,000 labels", "between 1 and 256 labels"),
        ("huge vocabulary", r"lm_head.weight of shape \(1000000000, 16\)"),
        ("tokens 1e8", "num_tokens_per_frame 4"),
        ("template that loops", "a program"),
        ("config deep", "recursion"),
        ("end in words", "eos_token_id"),
    ],
)
def test_a_refusal_names_what_is_wrong(folder: Path, name: str, message: str) -> None:
    REFUSED[name](folder)
    with pytest.raises(ModelNotFoundError, match=message):
        load_model(folder)


def test_settings_of_generation_do_not_make_answers_random(folder: Path) -> None:
    edit("generation_config.json", "num_beams", 4, folder)
    edit("generation_config.json", "suppress_tokens", [4], folder)
    settings = load_model(folder)[0].generation_config
    assert (settings.num_beams, settings.eos_token_id) == (None, 2)
    assert settings.suppress_tokens == [4]


def test_a_snapshot_of_the_hub_is_links_and_loads(folder: Path) -> None:
    SOUND["in the cache of the Hub"](folder)
    assert load_model(folder)[0].config.model_type == "emo_llama"


def test_a_misspelt_name_is_told_at_once() -> None:
    with pytest.raises(ModelNotFoundError, match="'typo': no such folder.*team/name"):
        find_model("typo")


def test_a_misspelt_repository_says_that_the_hub_was_asked() -> None:
    expected = "no such folder here, and the Hub, which was asked.*team/name"
    with pytest.raises(ModelNotFoundError, match=expected):
        load_model("team/typo")


@pytest.mark.slow
def test_a_hub_that_accepts_and_is_silent_is_not_waited_for(tmp_path: Path) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "emo_llama", "predict", PORTRAIT, "--model", "team/typo"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment["HF_ENDPOINT"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment["HF_HUB_ETAG_TIMEOUT"] = "1"  # 10 s by default
        done = subprocess.run(
            [*map(str, command)], env=environment, capture_output=True, text=True, timeout=100
        )
    assert done.returncode == 2, done.stderr
    assert "'team/typo': there is no such folder here, and the Hub" in done.stderr
    assert "timed out" in done.stderr and "Traceback" not in done.stderr


def test_an_index_of_a_checkpoint_stays_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "outside.bin").touch()
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    names = json.dumps({"weight_map": {"a": "../outside.bin"}})
    (folder / "pytorch_model.bin.index.json").write_text(names)
    with pytest.raises(DataFormatError, match="outside.bin.*expected files of this folder"):
        shard_files(folder)


@pytest.mark.parametrize("kind", ["kernel", "code"])
def test_parts_of_other_models_run_no_code_either(folder: Path, kind: str) -> None:
    change = {
        "kernel": config("attn_implementation", "team/kernel"),
        "code": both(
            config("auto_map", {"AutoConfig": "evil.C"}),
            config("model_type", "evil"),
            code("evil.py", ("C",)),
        ),
    }[kind]
    change(folder)
    with pytest.raises(DataFormatError, match="config.json"):
        LanguagePart(str(folder))
    assert not (folder.parent / "ran").exists()
