"""The benchmarks are tried on little: what they measure is not asserted."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_seven_b_runs_on_a_tiny_model():
    words = ["--config", "tiny", "--device", "cpu", "--batch-size", "2", "--length", "64"]
    words += ["--new-tokens", "4", "--steps", "1", "--peak-tflops", "1"]
    script = str(ROOT / "benchmarks" / "seven_b.py")
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["trained"] < found["parameters"]
    assert all(found[key] > 0 for key in ("step_seconds", "step_peak_gib", "mfu"))
    assert found["generation_tokens_per_second"] > 0


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["seven_b.py"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "benchmarks" / "seven_b.py"), run_name="__main__")
    assert stop.value.code == 2
    assert "there is no CUDA device" in capsys.readouterr().err


@pytest.mark.slow
def test_chaos_finds_what_is_torn(tmp_path: Path) -> None:
    """On the embedded model; its findings on larger runs are those of the command line."""
    folder = tmp_path / "photos"
    folder.mkdir()
    portrait = ROOT / "emo_llama" / "assets" / "portrait.jpg"
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(portrait.read_bytes())
    words = ["predict", str(folder), "--no-text", "--faces", "none", "--out", "{out}/out.csv"]
    command = [sys.executable, str(ROOT / "benchmarks" / "chaos.py"), "--work", tmp_path / "work"]
    done = subprocess.run([*command, "--kills", "2", "--", *words], capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert done.returncode == 0, found
    assert found["kills"] == 2 and found["compared"] >= 1
    torn = [sys.executable, str(ROOT / "benchmarks" / "chaos.py"), "--work", tmp_path / "again"]
    words[-1] = "{out}/" + "x" * 300 + ".csv"
    done = subprocess.run([*torn, "--kills", "0", "--", *words], capture_output=True, text=True)
    assert done.returncode == 1 and json.loads(done.stdout)["complaints"]


@pytest.mark.slow
def test_visitors_of_the_space_get_their_own_answers() -> None:
    """A few for a moment, on the real server with the embedded model."""
    pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")
    words = ["--visitors", "3", "--seconds", "2"]
    script = str(ROOT / "benchmarks" / "space_visitors.py")
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["answers"] >= 3
    assert found["failures"] == found["astray"] == 0
    assert found["memory_mb"]["peak"] >= found["memory_mb"]["start"] > 0
