"""`emo-llama predict` over a folder of everything that pictures and videos can be."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import media_corpus

from emo_llama.csv_rows import read_csv_records
from emo_llama.escaping import unescape
from emo_llama.testing import tiny_model, tiny_processor

MEMORY = 4 << 30  # bytes, of all processes of a run together


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("corpus")
    return folder, media_corpus.write_corpus(folder)


def memory_of_tree(root: int) -> int:
    """Bytes of a process and all below it that no other process shares."""
    parents, sizes = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            rollup = (entry / "smaps_rollup").read_text()
        except OSError:
            continue  # it has ended, or is not ours
        parents[int(entry.name)] = int(fields[1])
        sizes[int(entry.name)] = int(rollup.partition("\nPss:")[2].split()[0]) * 1024
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(sizes.get(pid, 0) for pid in family)


def run(*words: object) -> tuple[subprocess.CompletedProcess, int]:
    """Run the command; gives the peak of its memory as well."""
    command = [sys.executable, "-m", "emo_llama", "predict", *map(str, words)]
    peak = 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            peak = max(peak, memory_of_tree(process.pid))
            time.sleep(0.2)
        said.seek(0)
        text = said.read().decode(errors="replace")
    return subprocess.CompletedProcess(command, process.returncode, "", text), peak


def outcomes_of(path: Path) -> dict[str, str]:
    """Whether each input was read or refused, from a file of records."""
    if path.suffix == ".parquet":
        records = pq.read_table(path).to_pylist()
    elif path.suffix == ".jsonl":
        records = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        with path.open(newline="") as file:
            records = list(read_csv_records(file))
    paths = [record["path"] for record in records]
    assert len(paths) == len(set(paths))
    return {record["path"]: "refused" if record["error"] else "read" for record in records}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads Linux's /proc")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("suffix", "faces", "workers", "overlay"),
    [
        (".parquet", "none", 1, True),
        (".jsonl", "none", 2, False),
        (".csv", "detect", 2, True),
        (".jsonl", "detect", 1, False),
    ],
)
def test_one_record_a_file(
    model: Path,
    corpus: tuple[Path, dict[str, str]],
    tmp_path: Path,
    suffix: str,
    faces: str,
    workers: int,
    overlay: bool,
) -> None:
    folder, expected = corpus
    out = tmp_path / f"out{suffix}"
    options = ["--model", model, "--device", "cpu", "--no-text", "--faces", faces]
    options += ["--workers", workers, "--out", out]
    options += ["--overlay", tmp_path / "drawn"] if overlay else []
    done, peak = run(folder, *options)
    assert done.returncode == 1, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    outcomes = outcomes_of(out)
    assert len(outcomes) == len(expected)
    prefix = len(str(folder)) + 1
    got = {unescape(path)[prefix:]: outcome for path, outcome in outcomes.items()}
    certain = {name: want for name, want in expected.items() if want != "either"}
    assert {name: got.get(name) for name in certain} == certain
    assert peak < MEMORY, f"{peak / 1e9:.1f} GB"
