"""Whole or not at all, and one run at a time."""

import subprocess
import sys

import pytest
from safetensors import SafetensorError

from emo_llama.errors import UsageError
from emo_llama.files import atomic_path, complete_folder, only_run, write_text

HOLDER = """
import sys
from emo_llama.files import only_run
with only_run(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_an_error_leaves_the_older_file(tmp_path):
    path = tmp_path / "report.html"
    write_text(path, "older")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as partial:
        assert partial.suffix == ".html"  # writers choose their format by it
        partial.write_text("half of the new")
        raise ZeroDivisionError
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_the_longest_name_can_be_written(tmp_path):
    path = tmp_path / ("\u00e4" * 125 + ".json")
    with only_run(path), only_run(tmp_path / ("\u00e4" * 127)):
        write_text(path, "{}")
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UsageError, match="missing/a.txt: cannot be written"):
        write_text(tmp_path / "missing" / "a.txt", "text")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="Name another --output_dir"):
        with only_run(tmp_path / "file" / "out", "--output_dir"):
            pass
    with pytest.raises(UsageError, match="/proc/x: cannot be written"), only_run("/proc/x"):
        pass


def test_a_second_run_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    out = tmp_path / "new" / "out"
    command = [sys.executable, "-c", HOLDER, str(out)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another run is writing here"):
            with only_run(out):
                pass
        holder.kill()
    with only_run(out):
        pass
    assert not out.exists()


def test_an_older_folder_goes_only_for_a_whole_one(tmp_path):
    out = tmp_path / "model"
    with complete_folder(out) as partial:
        (partial / "a").write_text("older")
    with pytest.raises(UsageError, match="exists already"), complete_folder(out):
        pass
    with pytest.raises(ZeroDivisionError), complete_folder(out, replace=True) as partial:
        (partial / "b").write_text("half")
        raise ZeroDivisionError
    assert [path.name for path in out.iterdir()] == ["a"]
    with complete_folder(out, replace=True) as partial:
        (partial / "b").write_text("newer")
    assert [path.name for path in out.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("kind", [OSError, SafetensorError])
def test_what_the_disk_refuses_is_told(kind, tmp_path):
    with pytest.raises(UsageError, match="No space left on device.*Make room for it"):
        with complete_folder(tmp_path / "model") as partial:
            (partial / "half").touch()
            raise kind("Error while serializing: No space left on device (os error 28)")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_written_by_one_run_and_rid_of_what_a_killed_one_left(tmp_path):
    out, left = tmp_path / "[model]", tmp_path / ".[model].part-x"
    left.mkdir()
    (left / "half").touch()
    with complete_folder(out) as partial:
        assert not left.exists()
        with pytest.raises(UsageError, match="another run is writing here.*another folder"):
            with complete_folder(out):
                pass
        assert partial.is_dir()
    assert list(tmp_path.iterdir()) == [out]
