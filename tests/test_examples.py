"""Every file in examples/ is run."""

import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_dataset

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_parts_of_a_data_set_make_the_whole(ferplus_build, write_ferplus, tmp_path):
    root = write_ferplus()
    for index in range(3):
        command = [sys.executable, EXAMPLES / "build_one_part.py", "ferplus", root, tmp_path / "p"]
        subprocess.run([*command, f"--index={index}", "--count=3"], check=True)
    files = sorted(str(path) for path in (tmp_path / "p" / "category").glob("*-train-*"))
    cache = str(tmp_path / "cache")
    parts = load_dataset("parquet", data_files=files, split="train", cache_dir=cache)
    whole = load_dataset(str(ferplus_build[0]), "category", split="train", cache_dir=cache)
    assert parts["id"] == whole["id"]
    assert parts["messages"] == whole["messages"]
