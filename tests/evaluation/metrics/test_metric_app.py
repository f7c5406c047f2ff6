"""The page of the metric's Space, run as the Hub runs it: as a script in its own folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import emo_llama.evaluation.metrics.facial_expression as package

FOLDER = Path(package.__file__).parent


@pytest.mark.slow
def test_the_page_answers_by_its_named_endpoint(tmp_path):
    client = pytest.importorskip("gradio_client")
    folder = tmp_path / "space"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__*"))
    environment = os.environ | {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HOME": str(tmp_path),
        "PYTHONUNBUFFERED": "1",
    }
    words = [sys.executable, "app.py"]
    process = subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        line = next(line for line in process.stdout if "http://" in line)
        page = client.Client(line.split()[-1], verbose=False)
        scores = page.predict("happy\n\nsad", "happy\nhappy\nsad", api_name="/compute")
        assert (scores["uar"], scores["coverage"]) == (0.75, pytest.approx(2 / 3))
        with pytest.raises(Exception, match="got 1 predictions and 2 references"):
            page.predict("happy", "happy\nsad", api_name="/compute")
    finally:
        process.terminate()
        process.wait(timeout=30)
