"""The Space as a process: from its folder alone, as the Hub starts it, and by `emo-llama space`."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")

import httpx
import yaml
from gradio_client import Client, handle_file

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "space"
PORTRAIT = ROOT / "emo_llama" / "assets" / "portrait.jpg"
COMMAND = [sys.executable, "-m", "emo_llama", "space"]


@contextmanager
def running(words: list[str], folder: Path, **environment: str) -> Iterator[str]:
    """The address of a Space that runs in a folder of its own."""
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = ""
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield found.group()
                return
        pytest.fail(said)
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.slow
def test_the_folder_of_the_hub_runs_by_itself(tmp_path: Path) -> None:
    """The tabs come with the installed package, the pictures to try as well."""
    for name in ("app.py", "requirements.txt", "README.md"):
        shutil.copy(SPACE / name, tmp_path)
    with running([sys.executable, "app.py"], tmp_path) as address:
        record = Client(address, verbose=False).predict(handle_file(PORTRAIT), api_name="/photo")
    (face,) = record["faces"]
    assert (face["label"], face["abstained"]) == ("happiness", False)
    assert face["text"].startswith("The person looks happy")


@pytest.mark.slow
def test_the_command_serves_the_model_of_the_variable(tmp_path: Path) -> None:
    from emo_llama.testing import tiny_config, tiny_model, tiny_processor

    config = tiny_config(id2label={0: "calm", 1: "wild"})
    tiny_model(config).save_pretrained(tmp_path / "model")
    tiny_processor(config).save_pretrained(tmp_path / "model")
    with running(COMMAND, tmp_path, EMO_LLAMA_MODEL=str(tmp_path / "model")) as address:
        page = httpx.get(address, timeout=60).text
        client = Client(address, verbose=False)
        record = client.predict(
            handle_file(PORTRAIT), "The whole picture is one face", api_name="/photo"
        )
    assert list(record["faces"][0]["probabilities"]) == ["calm", "wild"]
    assert "googleapis" not in page and "gstatic" not in page


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--port", "0"], "--port expects a number"), (["--model", "no/such"], "no such folder here")],
)
def test_wrong_usage_is_told_before_anything_is_served(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from emo_llama.cli import main

    assert main(["space", *words]) == 2
    assert told in capsys.readouterr().err


def test_the_front_matter_is_that_of_this_package() -> None:
    import gradio

    _, front, text = (SPACE / "README.md").read_text().split("---\n", 2)
    facts = yaml.safe_load(front)
    assert (facts["sdk"], facts["app_file"], facts["license"]) == ("gradio", "app.py", "apache-2.0")
    assert facts["sdk_version"] == gradio.__version__
    assert len(facts["short_description"]) <= 60, "the Hub takes no more"
    assert "EMO_LLAMA_MODEL" in text
