"""What a push of the metric or of the Space would send."""

import ast
import hashlib
import os
import subprocess
import sys
import zipfile

import pytest
import yaml

from emo_llama.cli import main
from emo_llama.errors import UsageError
from emo_llama.hub.front_matter import check_card
from emo_llama.hub.staging import hashed, stage_metric, stage_space

WHEEL = "emo_llama-9.9.9-py3-none-any.whl"


def front_matter(folder):
    return yaml.safe_load((folder / "README.md").read_text().split("---")[1])


@pytest.fixture
def wheel(tmp_path):
    """A wheel with nothing in it but what tells that it is this package's."""
    path = tmp_path / WHEEL
    info = "emo_llama-9.9.9.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("emo_llama/space/app.py", "")
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: emo-llama\nVersion: 9.9.9\n"
            "Provides-Extra: space\nProvides-Extra: faces\n",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_the_metric_has_the_name_that_evaluate_looks_for(tmp_path):
    out = stage_metric(tmp_path, "team/my_metric")
    assert hashed(out).keys() == {
        "README.md",
        "app.py",
        "my_metric.py",
        "requirements.txt",
        "scores.py",
    }
    card = (out / "README.md").read_text()
    assert 'evaluate.load("team/my_metric")' in card
    assert check_card(card, "space", hashed(out)) is None
    evaluate = pytest.importorskip("evaluate")
    scores = evaluate.load(str(out)).compute(predictions=["a", "b"], references=["a", "a"])
    assert scores["war"] == 0.5


@pytest.mark.parametrize("name", ["a.b", "scores", "app"])
def test_names_that_a_metric_cannot_have(tmp_path, name):
    with pytest.raises(UsageError, match=f"evaluate loads {name}.py .*team/facial_expression"):
        stage_metric(tmp_path, f"team/{name}")


def test_the_space_starts_what_is_installed(tmp_path):
    out = stage_space(tmp_path, "team/space")
    assert hashed(out).keys() == {"README.md", "app.py", "requirements.txt"}
    assert check_card((out / "README.md").read_text(), "space", hashed(out)) is None
    assert "setdefault" not in (out / "app.py").read_text()
    assert (out / "requirements.txt").read_text().strip() == "emo-llama[faces,space]"


def test_the_space_names_its_model(tmp_path):
    out = stage_space(tmp_path, "team/space", model="team/model")
    code = (out / "app.py").read_text()
    assert ast.parse(code)
    assert code.endswith('    os.environ.setdefault(MODEL_VARIABLE, "team/model")\n    main()\n')
    assert front_matter(out)["models"] == ["team/model"]


@pytest.mark.parametrize("model", [".", "/tmp/model", "gpt2", 'a/b"); import os #'])
def test_a_space_shows_a_model_of_the_hub_only(tmp_path, model):
    with pytest.raises(UsageError, match="expected a repository as NAMESPACE/NAME"):
        stage_space(tmp_path, "team/space", model=model)


def test_a_wheel_is_installed_by_its_address_and_checksum(tmp_path, wheel):
    out = stage_space(tmp_path, "team/space", wheel=wheel)
    (line,) = (out / "requirements.txt").read_text().split("\n")[:1]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    name, _, address = line.partition(" @ ")
    assert name == "emo-llama[faces,space]"
    assert address.endswith(f"/spaces/team/space/resolve/main/{WHEEL}#sha256={digest}")
    assert (out / WHEEL).read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize("name", ["other-1.whl", "emo_llama-1.whl", "missing.whl"])
def test_what_is_no_wheel_of_this_package(tmp_path, name, wheel):
    if name != "missing.whl":
        (tmp_path / name).write_bytes(wheel.read_bytes() if "other" in name else b"PK")
    with pytest.raises(UsageError, match=r"expected emo_llama-VERSION"):
        stage_space(tmp_path, "team/space", wheel=tmp_path / name)


def test_a_wheel_is_not_for_a_private_space(wheel, capsys):
    assert main(["push", "space", "team/space", "--private", "--wheel", str(wheel)]) == 2
    assert "which nobody can read in a private Space" in capsys.readouterr().err


@pytest.mark.slow
def test_pip_installs_from_the_line_of_a_pushed_space(hub, repo, wheel, tmp_path):
    assert main(["push", "space", repo, "--wheel", str(wheel)]) == 0
    files = hub.files(repo, "spaces")
    (tmp_path / "requirements.txt").write_bytes(files["requirements.txt"])
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "-q"]
    command += ["--disable-pip-version-check", "-d", "got", "-r", "requirements.txt"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PIP_NO_INPUT": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "got" / WHEEL).read_bytes() == wheel.read_bytes()


def test_a_metric_and_a_space_do_not_take_each_others_place(hub, repo, capsys):
    name = repo.replace("-", "_")
    assert main(["push", "metric", name]) == 0
    assert main(["push", "space", name]) == 2
    assert "the name is taken by a space" in capsys.readouterr().err
    assert f"{name.partition('/')[2]}.py" in hub.files(name, "spaces")
