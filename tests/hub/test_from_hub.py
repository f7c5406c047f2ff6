"""What was pushed works for others: by its name alone, in processes without this package.

Each process starts clean, with the Hub on this machine as its only network.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from emo_llama.cli import main

pytestmark = pytest.mark.slow
PORTRAIT = Path(__file__).parents[2] / "emo_llama" / "assets" / "portrait.jpg"

HIDDEN = """
import sys


class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("emo_llama", "modeling"):
            raise ModuleNotFoundError(f"{name} is hidden")


sys.meta_path.insert(0, Hidden())
repo, picture, commit = sys.argv[1:]
"""

MODEL = r"""
import re
import shutil

from huggingface_hub import hf_hub_download
from transformers import (
    AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor, pipeline
)

pins = {"revision": commit, "code_revision": commit}
remote = {"trust_remote_code": True}
config = AutoConfig.from_pretrained(repo, **remote, **pins)
assert config.model_type == "emo_llama" and config.id2label[1] == "happiness"
processor = AutoProcessor.from_pretrained(repo, **remote, **pins)
question = {"type": "text", "text": "Describe the expression of the person in this image."}
messages = [{"role": "user", "content": [{"type": "image", "image": picture}, question]}]
inputs = processor.apply_chat_template(
    messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
for auto in (AutoModel, AutoModelForImageTextToText):
    model = auto.from_pretrained(repo, **remote, **pins)
    assert type(model).__module__.startswith("transformers_modules.")
    said = processor.batch_decode(model.generate(**inputs, max_new_tokens=4, do_sample=False))[0]
    assert isinstance(said, str)
chat = pipeline("image-text-to-text", model=repo, **remote)
answer = chat(text=messages, generate_kwargs={"max_new_tokens": 4, "do_sample": False})
assert answer[0]["generated_text"]
# The card's own words, as they stand.
with open(hf_hub_download(repo, "README.md")) as card:
    (code,) = re.findall(r"```python\n(.*?)```", card.read(), re.DOTALL)
assert f'path = "{repo}"' in code
shutil.copyfile(picture, "photo.jpg")
exec(code)
assert not any(name.partition(".")[0] == "emo_llama" for name in sys.modules)
"""

DATASET = """
import datasets
import evaluate

datasets.config.USE_PARQUET_EXPORT = False
metric = repo.rpartition("/")[0] + "/" + repo.rpartition("/")[2].replace("-", "_") + "_metric"
for config, count in (("category", 21), ("conversation", 21)):
    rows = datasets.load_dataset(repo, config, split="train", revision=commit)
    assert len(rows) == count, len(rows)
    assert {"id", "messages", "label"} <= set(rows.column_names)
    assert not {"images", "videos"} & set(rows.column_names)
    streamed = list(datasets.load_dataset(repo, config, split="train", streaming=True))
    assert [row["id"] for row in streamed] == rows["id"]
assert datasets.get_dataset_config_names(repo) == ["category", "conversation"]
scores = evaluate.load(metric).compute(
    predictions=["happiness", "happiness", "sadness", None, "sadness", "happiness"],
    references=["happiness", "happiness", "happiness", "happiness", "sadness", "sadness"],
)
assert scores["war"] == 0.5 and scores["n"] == 6, scores
"""


def environment(hub, home, **more):
    """That of a clean process; with nobody logged in."""
    hidden = ("HF_", "PYTHONPATH", "TRANSFORMERS_", "GRADIO_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return kept | {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "HF_HOME": str(home),
        **more,
    }


def run(hub, home, text, *arguments):
    home.mkdir()
    (home / "client.py").write_text(HIDDEN + text)
    return subprocess.run(
        [sys.executable, "-I", str(home / "client.py"), *arguments],
        cwd=home,
        env=environment(hub, home),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_model_by_its_name(hub, repo, tiny_folder, tmp_path, capsys):
    assert main(["push", "model", repo, "--model", str(tiny_folder)]) == 0
    commit = capsys.readouterr().out.strip().rpartition("/")[2]
    done = run(hub, tmp_path / "home", MODEL, repo, str(PORTRAIT), commit)
    assert done.returncode == 0, done.stderr[-4000:]


def test_a_data_set_and_the_metric_by_their_names(hub, repo, ferplus_build, tmp_path, capsys):
    assert main(["push", "dataset", repo, "--data", str(ferplus_build[0])]) == 0
    commit = capsys.readouterr().out.strip().rpartition("/")[2]
    metric = "tester/" + repo.partition("/")[2].replace("-", "_") + "_metric"
    assert main(["push", "metric", metric]) == 0
    done = run(hub, tmp_path / "home", DATASET, repo, str(PORTRAIT), commit)
    assert done.returncode == 0, done.stderr[-4000:]


def test_the_space_runs_from_its_snapshot(hub, repo, tiny_folder, tmp_path):
    """With the installed package, as its requirements.txt would have it."""
    pytest.importorskip("gradio")
    model = repo.replace("tester/", "team/")
    assert main(["push", "model", model, "--model", str(tiny_folder)]) == 0
    assert main(["push", "space", repo, "--model", model]) == 0
    folder = snapshot_download(repo, repo_type="space", local_dir=tmp_path / "space")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hub.proxy.log.clear()
    with subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=folder,
        env=environment(hub, tmp_path / "home", GRADIO_SERVER_PORT=str(port)),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            page = wait_for(process, f"http://127.0.0.1:{port}/config")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
    assert b"EMO-LLaMA" in page
    assert hub.proxy.count("GET", f"/{model}/resolve/"), "it loads the model that was named"


def wait_for(process, address):
    """The page, once it is there."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(address) as answer:
                return answer.read()
        except OSError:
            time.sleep(0.2)
    pytest.fail(process.stderr.read()[-4000:])


@pytest.mark.parametrize(
    ("method", "part", "arrives"),
    [
        ("PUT", "/lfs/", False),
        ("POST", "/commit/", False),
        ("POST", "/commit/", True),
        ("GET", "/resolve/", False),
    ],
    ids=["upload", "before the commit", "after the commit", "read-back"],
)
def test_a_process_that_is_killed_leaves_all_or_nothing(
    hub, repo, tiny_folder, tmp_path, capsys, method, part, arrives
):
    words = ["push", "model", repo, "--model", str(tiny_folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "emo_llama", *words],
        env=environment(hub, tmp_path / "home", HF_TOKEN="hf_tester"),
        stderr=subprocess.PIPE,
        text=True,
    )

    def kill(passing):
        if arrives:
            passing.forward(passing.path)
        process.kill()
        return passing.cut()

    hub.proxy.once(method, part, kill)
    messages = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, messages
    held = hub.files(repo)
    uploads = hub.proxy.count("PUT", "/lfs/")
    assert main(words) == 0
    whole = hub.files(repo)
    assert held in ({}, whole)
    assert (held == whole) == (part == "/resolve/" or arrives)
    assert hub.commits(repo) == 1
    assert ("nothing has changed" in capsys.readouterr().err) == (held == whole)
    assert hub.proxy.count("PUT", "/lfs/") == 1 + (part == "/lfs/") * uploads
