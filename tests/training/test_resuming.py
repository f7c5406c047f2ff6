"""A run that is killed and resumed learns, step by step, what an uninterrupted one learns."""

import json
import os
import signal
import subprocess
import sys

import pytest
import yaml

from emo_llama.cli import main
from emo_llama.testing import tiny_model, tiny_processor

STEPS, SAVED, KILLED = 16, 6, 9
SETTINGS = {
    "max_steps": STEPS,
    "per_device_train_batch_size": 4,
    "learning_rate": 1.0e-3,
    "augment_faces": 64,  # random changes of the pictures; the Q-Former has dropout
    "assistant_only_loss": True,
    "max_length": None,
    "bf16": False,
    "gradient_checkpointing": False,
    "logging_steps": 1,
    "save_steps": SAVED,
    "report_to": "none",
    "use_cpu": True,
}
LORA = {
    "use_peft": True,
    "lora_r": 4,
    "lora_dropout": 0.1,
    "lora_target_modules": [r".*\.language_model\..*_proj"],
    "lora_modules_to_save": ["face_info_mining", "content_projector", "value_projection"],
}


@pytest.fixture
def words(tmp_path, ferplus_build):
    """Gives the words of a run, by the name of its work folder."""
    tiny_model().save_pretrained(tmp_path / "start")
    tiny_processor().save_pretrained(tmp_path / "start")
    start, data = str(tmp_path / "start"), str(ferplus_build[0])

    def write(name, settings):
        path = tmp_path / "recipe.yaml"
        values = {"model_name_or_path": start, "data": data, **SETTINGS, **settings}
        path.write_text(yaml.safe_dump(values))
        return ["train", "--config", str(path), "--output_dir", str(tmp_path / name)]

    return write


def kill_within(words):
    """Runs the command in a process and kills it without notice when so many losses are printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, "-m", "emo_llama.cli", *words]
    process = subprocess.Popen(command, env=environment, **pipes)
    printed, seen = 0, []
    for line in process.stdout:
        seen.append(line)
        printed += line.count("'loss'")
        if printed == KILLED:
            process.kill()
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL, "".join(seen)


def curve(work_dir):
    state = work_dir / "tuning" / f"checkpoint-{STEPS}" / "trainer_state.json"
    history = json.loads(state.read_text())["log_history"]
    return {entry["step"]: entry["loss"] for entry in history if "loss" in entry}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("settings", [{}, LORA], ids=["plain", "lora"])
def test_a_killed_run_goes_on_as_if_nothing_had_been(words, tmp_path, capsys, settings):
    """An epoch has 11 steps: the checkpoint lies within the first, the end within the second."""
    assert main(words("whole", settings)) == 0
    kill_within(words("cut", settings))
    left = {path.name for path in (tmp_path / "cut" / "tuning").glob("checkpoint-*")}
    assert left == {f"checkpoint-{SAVED}"}
    capsys.readouterr()
    assert main([*words("cut", settings), "--resume"]) == 0
    assert capsys.readouterr().err.count("'loss'") == STEPS - SAVED
    whole, resumed = curve(tmp_path / "whole"), curve(tmp_path / "cut")
    assert list(resumed) == list(range(1, STEPS + 1))
    assert resumed == pytest.approx(whole, abs=1e-6)
