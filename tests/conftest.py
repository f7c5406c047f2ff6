"""What tests of several folders share: FERPlus in its official layout, with drawn faces."""

import csv
import gc
import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets
import pytest
from transformers.utils import logging

from emo_llama.dataset_builders.synthetic import draw_face

HEADER = "neutral happiness surprise sadness anger disgust fear contempt unknown NF".split()
EXPRESSIONS = HEADER[:8]
Row = tuple[str, str, Sequence[int]]
# What a test, or what it tests, imports within a function. Imported by the first test to need it,
# it would count as that test's own processor time.
LAZY_IMPORTS = "google.genai matplotlib.pyplot mediapipe openai peft skimage.transform trl".split()


@pytest.fixture(scope="session", autouse=True)
def imported(pytestconfig: pytest.Config) -> None:
    """Imports are over before the first test where each test's processor time is limited."""
    if pytestconfig.getoption("--cpu-limit") is None:
        return
    for name in LAZY_IMPORTS:
        with suppress(ImportError):  # of an extra that is not installed
            importlib.import_module(name)
    # Modules stay: without this every collection of garbage would walk through all of them.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What `datasets` keeps lies in the session's own folder, not in that of the user."""
    folder = str(tmp_path_factory.mktemp("datasets"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
        patch.setenv("HF_DATASETS_CACHE", folder)
        yield


@pytest.fixture(autouse=True)
def own_messages() -> Iterator[None]:
    """What a command silences in this process is as loud as before in the next test."""
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    yield
    logging.set_verbosity(verbosity)
    (logging.enable_progress_bar if has_bars else logging.disable_progress_bar)()


def votes_for(expression: str, count: int = 9, second: str = "neutral") -> list[int]:
    """Ten votes: `count` for an expression, the rest for a second one."""
    votes = [0] * len(HEADER)
    votes[HEADER.index(expression)] += count
    votes[HEADER.index(second)] += 10 - count
    return votes


def default_rows() -> list[Row]:
    """24 rows for training, 8 and 8 held out; the comments say what is special about some."""
    rows = [("Training", EXPRESSIONS[i % 8], votes_for(EXPRESSIONS[i % 8])) for i in range(21)]
    rows.append(("Training", "sadness", votes_for("sadness", 5)))  # no majority
    rows.append(("Training", "neutral", votes_for("NF", 10)))
    rows.append(("Training", "happiness", votes_for("happiness")))  # the picture of row 25
    rows += [("PublicTest", name, votes_for(name, 7)) for name in EXPRESSIONS]
    rows += [("PrivateTest", name, votes_for(name)) for name in EXPRESSIONS]
    return rows


def write_files(folder: Path, rows: Sequence[Row] | None = None) -> Path:
    """`fer2013.csv` and `fer2013new.csv` in a new folder, as their authors lay them out."""
    folder.mkdir(parents=True)
    table = default_rows() if rows is None else rows
    with (
        open(folder / "fer2013.csv", "w", newline="") as images,
        open(folder / "fer2013new.csv", "w", newline="") as votes,
    ):
        image_rows, vote_rows = csv.writer(images), csv.writer(votes)
        image_rows.writerow(["emotion", "pixels", "Usage"])
        vote_rows.writerow(["Usage", "Image name", *HEADER])
        for index, (usage, expression, counts) in enumerate(table):
            seed = 25 if rows is None and index == 23 else index
            pixels = " ".join(map(str, draw_face(expression, seed, 48).getchannel("R").tobytes()))
            image_rows.writerow([0, pixels, usage])
            # The official names are no row numbers, and some are missing.
            vote_rows.writerow([usage, f"fer{index * 3:07d}.png" if index % 5 else "", *counts])
    return folder


@pytest.fixture
def write_ferplus(tmp_path: Path) -> Callable[..., Path]:
    """Writes the official files into `tmp_path`, with the default rows or others."""

    def write(rows: Sequence[Row] | None = None, name: str = "fer2013") -> Path:
        return write_files(tmp_path / name, rows)

    return write


@pytest.fixture(scope="session")
def ferplus_build(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder built from the default rows, alone in its parent, and its counts; read only."""
    from emo_llama.annotate.template import TemplateAnnotator
    from emo_llama.dataset_builders.build import build_folder

    root = write_files(tmp_path_factory.mktemp("official") / "fer2013")
    out = tmp_path_factory.mktemp("built") / "ferplus"
    return out, build_folder("ferplus", root, out, TemplateAnnotator())
