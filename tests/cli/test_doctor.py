"""What the doctor says of environments that are whole, incomplete and broken."""

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from emo_llama.cli import doctor, main
from emo_llama.cli._probes import probed

WORKING = {
    ":device": {"cuda": [], "built_for": None, "mps": False, "threads": 2},
    ":cache": {"folder": "/", "offline": True, "login": False},
    ":model": {"name": "tiny", "label": "happiness", "seconds": 1.0},
}


@pytest.fixture
def examined(monkeypatch):
    """Lets the doctor look at versions, import errors and probes that a test makes up."""

    def examine(versions=None, **results):
        real = doctor._version
        monkeypatch.setattr(doctor, "_module", lambda name: name)
        monkeypatch.setattr(doctor, "_version", lambda n: (versions or {}).get(n, real(n)))
        found = {name.replace("_probe_", ":"): value for name, value in results.items()}
        monkeypatch.setattr(
            doctor, "probed", lambda names: {n: {} for n in names} | WORKING | found
        )
        return {f"{check.part} {check.name}": check for check in doctor.examine()}

    return examine


def test_every_requirement_of_the_metadata_is_looked_at(examined):
    checks = examined()
    for line in metadata.requires("emo-llama"):
        need = Requirement(line)
        if need.marker is None:
            assert checks[f"base {need.name}"].state == "ok"
    for extra in metadata.metadata("emo-llama").get_all("Provides-Extra"):
        assert any(check.part == extra for check in checks.values())


def test_a_missing_package_of_the_base_fails_with_what_to_type(examined, capsys):
    (need,) = (r for r in metadata.requires("emo-llama") if r.startswith("torch"))
    check = examined({"torch": None})["base torch"]
    assert (check.state, check.advice) == ("failed", f'pip install "{need}"')
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("emo-llama 0.1.0 does not work here yet\n")
    assert f"  FAIL  torch           not installed, expected {Requirement(need).specifier}" in out


def test_a_missing_extra_does_not_decide(examined, capsys):
    check = examined({"gradio": None})["space gradio"]
    assert (check.state, check.advice) == ("absent", 'pip install "emo-llama[space]"')
    assert main(["doctor", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["works"] and any(c["name"] == "gradio" for c in report["checks"])


@pytest.mark.parametrize("version", ["1.0", "999.0"])
def test_a_version_outside_of_the_bounds_is_a_warning(examined, version):
    check = examined({"transformers": version})["base transformers"]
    assert check.state == "warning"
    assert check.found.startswith(f"{version}, tested is ") and "transformers" in check.advice


def test_an_import_error_is_a_line(examined, capsys):
    error = "ImportError: libcudart.so.13: cannot open shared object file"
    check = examined(torch={"error": error})["base torch"]
    assert check.state == "failed" and error in check.found
    assert check.advice.startswith("pip install --force-reinstall --no-deps ")
    assert main(["doctor"]) == 1
    assert error in capsys.readouterr().out


def test_torchvision_that_does_not_fit_is_told(examined):
    error = "RuntimeError: operator torchvision::nms does not exist"
    check = examined({"torchvision": "0.29"}, torchvision={"error": error})["base torchvision"]
    assert check.state == "failed" and "pip uninstall torchvision" in check.advice
    assert examined({"torchvision": "0.29"}, torchvision={})["base torchvision"].state == "note"
    assert "base torchvision" not in examined({"torchvision": None})


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"name": "tiny", "label": "anger", "seconds": 1.0}, "says anger of the portrait"),
        ({"name": "tiny", "label": None, "seconds": 1.0}, "says None of the portrait"),
        ({"error": "OSError: no config.json"}, "no config.json"),
    ],
)
def test_a_model_that_does_not_answer_fails(examined, said, found):
    check = examined(_probe_model=said)["machine model"]
    assert check.state == "failed" and found in check.found and check.advice


def test_the_device_is_named(examined):
    gpu = {"cuda": ["NVIDIA H100"], "built_for": "13.0", "mps": False, "threads": 1}
    assert "NVIDIA H100" in examined(_probe_device=gpu)["machine device"].found
    unseen = examined(_probe_device=gpu | {"cuda": []})["machine device"]
    assert unseen.state == "note" and "sees none" in unseen.found
    assert "mps" in examined(_probe_device=gpu | {"cuda": [], "mps": True})["machine device"].found
    broken = examined(_probe_device={"error": "x"}, _probe_cache={"error": "y"})
    assert broken["machine device"].state == broken["machine cache"].state == "warning"


def test_a_cache_that_cannot_be_written_is_told(examined, monkeypatch, tmp_path):
    cache = {"folder": str(tmp_path / "not" / "yet"), "offline": False, "login": True}
    checks = examined(_probe_cache=cache)
    assert checks["machine cache"].state == checks["machine login"].state == "ok"
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "HF_HOME" in examined(_probe_cache=cache)["machine cache"].advice


def test_a_folder_that_is_not_installed_is_told(monkeypatch, capsys):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", missing)
    assert main(["doctor"]) == 1
    assert "pip install emo-llama" in capsys.readouterr().out


def test_without_packaging_it_still_answers(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert main(["doctor"]) == 1
    assert "packaging" in capsys.readouterr().out


def test_an_extra_that_this_python_cannot_have_is_absent(examined, monkeypatch):
    line = 'mediapipe==0.10.14; python_version < "3" and extra == "faces"'
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["numpy>=2", line])
    checks = examined()
    assert checks["faces faces"].state == "absent"
    assert "nothing of it is made for Python 3" in checks["faces faces"].found
    assert checks["base numpy"].state == "ok"


@pytest.mark.parametrize(
    ("name", "module"),
    [("pillow", "PIL"), ("scikit-image", "skimage"), ("pyyaml", "yaml"), ("torch", "torch")],
)
def test_what_a_distribution_is_imported_as(name, module):
    assert doctor._module(name) == module


def test_probes_outlive_what_is_broken(tmp_path, monkeypatch):
    """Modules that raise, that end the process, and that print: the others have their turn."""
    bodies = {
        "whole": "print('noise')",
        "raising": "raise RuntimeError('half installed')",
        "ending": "import os, sys; sys.stderr.write('illegal instruction'); os._exit(4)",
        "last": "",
    }
    for name, body in bodies.items():
        (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = probed([*bodies, "not_there"])
    assert found["whole"] == {"imported": "whole"} and found["last"] == {"imported": "last"}
    assert found["raising"]["error"] == "RuntimeError: half installed"
    assert found["ending"]["error"] == "it ended the process with status 4. illegal instruction"
    assert "No module named 'not_there'" in found["not_there"]["error"]


def test_a_probe_that_hangs_is_given_up(tmp_path, monkeypatch):
    (tmp_path / "hanging.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("emo_llama.cli._probes.SECONDS", 1)
    assert probed(["hanging"]) == {"hanging": {"error": "it did not come back within 1 seconds"}}


def test_files_of_the_folder_pass_for_no_package(tmp_path, monkeypatch):
    (tmp_path / "yaml.py").write_text("raise RuntimeError('of the folder')")
    monkeypatch.chdir(tmp_path)
    assert probed(["yaml"]) == {"yaml": {"imported": "yaml"}}


@pytest.mark.slow
def test_a_real_run_with_a_broken_package(tmp_path):
    (tmp_path / "av.py").write_text("raise ImportError('libavcodec.so.62: not found')")
    done = subprocess.run(
        [sys.executable, "-m", "emo_llama.cli", "doctor", "--format", "json"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and not done.stderr, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert "libavcodec.so.62: not found" in checks["av"]["found"]
    assert checks["torch"]["state"] == checks["transformers"]["state"] == "ok"
    assert checks["memory"]["found"].endswith(" GB")
