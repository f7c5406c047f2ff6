"""The folder as `evaluate` loads it: here, and in processes that know nothing of the package."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import yaml

import emo_llama.evaluation.metrics.facial_expression as package
from emo_llama.evaluation.metrics.facial_expression.scores import expression_scores

evaluate = pytest.importorskip("evaluate")
FOLDER = Path(package.__file__).parent
ROOT = Path(__file__).parents[3]
IMPORTS = (ast.Import, ast.ImportFrom)
SAID = ["happy", None, "sad", "sad"]
TRUE = ["happy", "happy", "sad", "happy"]


@pytest.fixture
def metric(tmp_path, monkeypatch):
    # evaluate reads the place of its modules when it is imported, so that it is handed over
    monkeypatch.setattr("evaluate.config.HF_MODULES_CACHE", tmp_path / "modules")
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path / "metrics"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    before = set(sys.modules)
    yield evaluate.load(str(FOLDER))
    for name in set(sys.modules) - before:
        if name.startswith("evaluate_modules"):
            del sys.modules[name]


def test_results_are_those_of_the_package(metric):
    assert metric.compute(predictions=SAID, references=TRUE) == expression_scores(SAID, TRUE)
    assert json.loads(json.dumps(metric.compute(predictions=SAID, references=TRUE)))["n"] == 4


@pytest.mark.parametrize("kind", ["list", "numpy", "torch", "column", "series"])
def test_numbers_come_in_every_container(metric, kind):
    import datasets
    import pandas
    import torch

    make = {
        "list": list,
        "numpy": np.array,
        "torch": torch.tensor,
        "column": lambda rows: datasets.Dataset.from_dict({"rows": rows})["rows"],
        "series": pandas.Series,
    }[kind]
    found = metric.compute(
        predictions=make([0, 1, 2, 1]), references=make([0, 1, 1, 1]), labels=["a", "b", "c"]
    )
    assert found["war"] == 0.75
    assert found["per_class"]["b"] == {"recall": pytest.approx(2 / 3), "n": 3}


def test_rows_come_one_by_one_and_in_batches_of_any_size(metric):
    metric.add(prediction=None, reference="happy")  # the first row tells no type
    metric.add_batch(predictions=[], references=[])
    metric.add_batch(predictions=SAID[2:], references=TRUE[2:])
    metric.add(prediction=SAID[0], reference=TRUE[0])
    expected = expression_scores([None, *SAID[2:], SAID[0]], ["happy", *TRUE[2:], TRUE[0]])
    assert metric.compute() == expected
    assert metric.compute(predictions=[1], references=[1])["labels"] == [1], "rows are forgotten"


def test_combined_with_another_metric_of_equal_names(metric):
    both = evaluate.combine({"one": metric, "other": metric})
    found = both.compute(predictions=SAID, references=TRUE)
    assert found["one_war"] == found["other_war"] == 0.5


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"predictions": [], "references": []}, "at least one row"),
        ({"predictions": [1, 2], "references": [1]}, "2 predictions and 1 references"),
        ({"predictions": [1]}, "expected references as a list"),
        ({"predictions": np.zeros((2, 3)), "references": [0, 1]}, "take the label first"),
        ({"predictions": ["joy"], "references": ["a"], "labels": ["a"]}, "'joy', expected one of"),
    ],
)
def test_a_refusal_says_what_to_do_and_leaves_the_metric_usable(metric, rows, message):
    with pytest.raises(ValueError, match=message):
        metric.compute(**rows)
    assert metric.compute(predictions=["a"], references=["a"])["war"] == 1.0


def run(code: str, folder: Path, home: Path, *words: str) -> subprocess.Popen:
    """A process with a cache of its own, offline, in which `emo_llama` cannot be imported."""
    hidden = "import sys; sys.modules['emo_llama'] = None\nimport evaluate\n"
    environment = {"HF_EVALUATE_OFFLINE": "1"} | os.environ | {"HF_HOME": str(home)}
    command = [sys.executable, "-c", hidden + code, str(folder), *words]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def answer(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out)


@pytest.mark.slow
def test_loaded_from_a_copy_in_a_clean_process(tmp_path):
    """Under another name as well: the Hub's repository has the name of the script."""
    folder = tmp_path / "other-name"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__*"))
    (folder / "facial_expression.py").rename(folder / "other-name.py")
    code = (
        "import json\n"
        "metric = evaluate.load(sys.argv[1])\n"
        "words = metric.compute(predictions=['a', None, 'b'], references=['a', 'a', 'b'])\n"
        "numbers = metric.compute(predictions=[0, 1], references=[0, 0], labels=['a', 'b'])\n"
        "print(json.dumps([words, numbers]))\n"
    )
    words, numbers = answer(run(code, folder, tmp_path))
    assert words == expression_scores(["a", None, "b"], ["a", "a", "b"])
    assert numbers == expression_scores([0, 1], [0, 0], ["a", "b"])


class Hub(BaseHTTPRequestHandler):
    """Serves the folder as the repository of a Space, its newest revision alone."""

    def do_GET(self):
        place, _, name = self.path.partition("/resolve/main/")
        path = FOLDER / name
        if place != "/spaces/team/facial_expression" or not path.is_file():
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(path.read_bytes())

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_loaded_by_its_name_in_a_repository(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_EVALUATE_OFFLINE", "0")
    monkeypatch.setenv("HF_UPDATE_DOWNLOAD_COUNTS", "0")  # evaluate would ask another host
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    code = (
        "import json\n"
        "metric = evaluate.load(sys.argv[1])\n"
        "print(json.dumps(metric.compute(predictions=[0, None], references=[0, 1])))\n"
    )
    try:
        found = answer(run(code, Path("team/facial_expression"), tmp_path))
    finally:
        server.shutdown()
        server.server_close()
    assert found == json.loads(json.dumps(expression_scores([0, None], [0, 1])))


@pytest.mark.slow
def test_two_processes_make_one_result(tmp_path):
    """One has no answers, so that only the other could tell of what kind they are."""
    code = (
        "import json\n"
        "number = int(sys.argv[2])\n"
        "metric = evaluate.load(sys.argv[1], num_process=2, process_id=number,\n"
        "                       experiment_id='both')\n"
        "rows = [([0, 1, 1], [0, 0, 1]), ([None], [1])][number]\n"
        "print(json.dumps(metric.compute(predictions=rows[0], references=rows[1])))\n"
    )
    processes = [run(code, FOLDER, tmp_path, str(number)) for number in range(2)]
    first, second = map(answer, processes)
    assert first == json.loads(json.dumps(expression_scores([0, 1, 1, None], [0, 0, 1, 1])))
    assert second is None


def test_the_card_shows_what_runs_and_names_what_is_tested(metric):
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    (code,) = re.findall(r"```python\n(.*?)```", body, re.DOTALL)
    names: dict = {}
    exec(code.replace("USER/facial_expression", str(FOLDER)), names)
    assert (names["scores"]["war"], names["scores"]["uar"]) == (0.5, 0.5)
    assert f"{names['scores']['macro_f1']:.3f}" == "0.536"
    assert yaml.safe_load(head)["license"] == "apache-2.0"
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"gradio=={yaml.safe_load(head)['sdk_version']}\n" in pins


def test_it_imports_only_what_evaluate_finds_and_installs():
    """evaluate reads the imports of the script alone, and copies no others."""
    from evaluate.loading import get_imports

    kinds = {(kind, name) for kind, name, *_ in get_imports(str(FOLDER / "facial_expression.py"))}
    assert ("internal", "scores") in kinds and ("library", "evaluate") in kinds
    for name in ("facial_expression.py", "scores.py"):
        tree = ast.parse((FOLDER / name).read_text(encoding="utf-8"))
        found = {ast.unparse(n).split()[1].split(".")[0] for n in tree.body if type(n) in IMPORTS}
        assert found - sys.stdlib_module_names <= {"", "numpy", "datasets", "evaluate"}, found
        if name == "scores.py":
            assert found - sys.stdlib_module_names == {"numpy"}


def test_its_requirements_have_the_bounds_of_the_package():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    known = config["options"]["install_requires"] + config["options.extras_require"]["evaluate"]
    lines = (FOLDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines and set(lines) <= set(known.splitlines())
