"""What holds for the whole test suite: no network, no GPU needed, no long test unmarked."""

import os
import socket

# Before anything imports transformers: a test that would reach the Hub fails instead.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The models are tiny: more threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
import signal
import time
from collections.abc import Generator

import pytest

# A shell's background jobs ignore Ctrl-C, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LOOPBACK = ("127.0.0.1", "::1", "localhost")
STARTED = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the limit that `make test` and `make test-all` set."""
    parser.addoption(
        "--cpu-limit",
        type=float,
        metavar="SECONDS",
        help="fail a test that takes more processor seconds than this without the mark slow",
    )


def cpu_seconds() -> float:
    """Processor time of this process and of those that it started and that have ended.

    A busy machine lengthens it little, where it lengthens what a clock on the wall shows.
    """
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin to count for a test, its own fixtures included."""
    item.config.stash[STARTED] = cpu_seconds()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Leave out what a test builds for others as well: which one comes first is chance."""
    started = cpu_seconds()
    try:
        return (yield)
    finally:
        if fixturedef.scope != "function":
            request.config.stash[STARTED] += cpu_seconds() - started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Fail a test that passed, but took more than the limit."""
    yield
    limit = item.config.getoption("--cpu-limit")
    if limit is None or item.get_closest_marker("slow"):
        return
    taken = cpu_seconds() - item.config.stash[STARTED]
    if taken > limit:
        pytest.fail(
            f"{taken:.1f} s of processor time, expected at most {limit:g} s. "
            "Make what the test works on smaller, or mark it slow.",
            pytrace=False,
        )


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in LOOPBACK:
            raise RuntimeError(f"A test tried to reach {address}; tests use no network.")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `gpu` where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
