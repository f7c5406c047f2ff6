"""The limit on a test's processor time, tried on a suite of its own."""

import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
SUITE = """
import subprocess, sys, time
import pytest


def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.fixture(scope="module")
def shared():
    work(0.2)


@pytest.fixture
def own():
    work(0.2)


def test_quick(): ...
def test_waits(): time.sleep(0.3)
def test_for_all(shared): ...
@pytest.mark.slow
def test_marked(): work(0.2)
def test_long(): work(0.2)
def test_long_fixture(own): ...
def test_long_process():
    subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.2: pass"])
"""


@pytest.mark.parametrize(
    ("words", "failing"),
    [
        (["--cpu-limit", "0.1"], ["test_long", "test_long_fixture", "test_long_process"]),
        ([], []),
    ],
)
def test_a_test_may_take_only_so_much_unless_it_is_marked(pytester, words, failing, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    shutil.copy(ROOT / "conftest.py", pytester.path)
    pytester.makeini("[pytest]\nmarkers = slow")
    pytester.makepyfile(SUITE)
    done = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-rf", *words)
    done.assert_outcomes(passed=7 - len(failing), failed=len(failing))
    lines = [line for line in done.outlines if line.startswith("FAILED ")]
    assert [line.split("::")[1].split(" ")[0] for line in lines] == failing
    told = "s of processor time, expected at most 0.1 s"  # with CI=true the summary says so as well
    limits = [line for line in done.outlines if told in line and not line.startswith("FAILED ")]
    assert len(limits) == len(failing)
