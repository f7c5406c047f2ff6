import io
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from PIL import Image

from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.cli import main
from emo_llama.dataset_builders.build import BUILDERS, BuildOptions, build_folder
from emo_llama.dataset_builders.ferplus import VOTES, FerPlus
from emo_llama.dataset_builders.stripping import strip_pictures
from emo_llama.dataset_builders.synthetic import draw_face
from emo_llama.errors import DataFormatError, InputNotFoundError, UsageError
from emo_llama.files import only_run
from emo_llama.labels import FERPLUS
from emo_llama.media import read_image
from emo_llama.prompts import category_question


@pytest.fixture
def built(ferplus_build):
    return ferplus_build


def test_counts_say_what_became_of_every_row(built):
    counts = built[1].counts
    train = counts["category"]["train"]
    assert (train["read"], train["without a label"]) == (24, 2)
    assert (train["repeats dropped"], train["written"]) == (1, 21)
    assert sum(train[label] for label in FERPLUS) == 21
    assert counts["category"]["validation"]["written"] == 8
    assert counts["category"]["test"]["written"] == 8
    assert list(counts["conversation"]) == ["train"]


def test_load_dataset_reads_both_configurations(built, tmp_path):
    out, _ = built
    category = load_dataset(str(out), "category", cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in category.items()} == {
        "train": 21,
        "validation": 8,
        "test": 8,
    }
    row = category["validation"][1]
    assert row["id"] == "ferplus-00025"
    assert row["images"][0].size == (48, 48)
    assert row["messages"] == [
        {"role": "user", "content": category_question(FERPLUS)},
        {"role": "assistant", "content": "happiness"},
    ]
    assert row["votes"] == [3, 7, 0, 0, 0, 0, 0, 0, 0, 0]
    assert (row["label"], tuple(row["labels"]), row["rule"]) == ("happiness", FERPLUS, "majority")

    cache = str(tmp_path / "cache")
    conversation = load_dataset(str(out), "conversation", split="train", cache_dir=cache)
    assert conversation["id"] == category["train"]["id"]
    for turns in conversation["messages"]:
        assert [turn["role"] for turn in turns] in (["user", "assistant"] * n for n in (1, 2))


def test_half_of_the_training_questions_are_in_the_first_wording(built):
    out, _ = built
    rows = pq.read_table(out / "category" / "ferplus-train-00000.parquet").to_pylist()
    first = [row["messages"][0]["content"] == category_question(FERPLUS) for row in rows]
    assert [row["id"][-1] in "02468" for row in rows] == first


def test_the_folder_holds_pictures_and_no_path_of_this_machine(built):
    out, _ = built
    for file in out.rglob("*.parquet"):
        for row in pq.read_table(file).to_pylist():
            assert row["images"][0]["bytes"].startswith(b"\x89PNG")
            assert row["images"][0]["path"] is None
        assert str(out.parent.parent).encode() not in file.read_bytes()
    assert str(out.parent.parent) not in (out / "README.md").read_text()
    assert sorted(file.name for file in out.rglob("*") if file.is_file()) == [
        "README.md",
        "ferplus-test-00000.parquet",
        "ferplus-train-00000.parquet",
        "ferplus-train-00000.parquet",
        "ferplus-validation-00000.parquet",
        "report.json",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["ferplus"]


def test_the_readme_states_rule_statistics_and_licence(built):
    text = (built[0] / "README.md").read_text()
    assert "| written | 21 | 8 | 8 |" in text
    assert "Label rule: `majority`" in text
    assert "no open licence" in text


def test_the_other_rule_and_kept_repeats(write_ferplus, tmp_path):
    options = BuildOptions(rule="argmax", keep_repeats=True)
    done = build_folder("ferplus", write_ferplus(), tmp_path / "out", TemplateAnnotator(), options)
    train = done.counts["category"]["train"]
    assert (train["without a label"], train["repeats dropped"], train["written"]) == (1, 0, 23)


def test_two_builds_are_equal(built, write_ferplus, tmp_path):
    build_folder("ferplus", write_ferplus(name="b"), tmp_path / "again", TemplateAnnotator())
    for file in (
        "README.md",
        "category/ferplus-train-00000.parquet",
        "conversation/ferplus-train-00000.parquet",
    ):
        assert (built[0] / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_damage_far_into_the_file_leaves_nothing_behind(write_ferplus, tmp_path):
    root = write_ferplus()
    path = root / "fer2013.csv"
    lines = path.read_text().splitlines()
    lines[20] = lines[20].replace(" 150 ", " x ", 1)
    path.write_text("\n".join(lines))
    with pytest.raises(DataFormatError, match="fer2013.csv, row 19"):
        build_folder("ferplus", root, tmp_path / "built" / "ferplus", TemplateAnnotator())
    assert list((tmp_path / "built").iterdir()) == []


class CutOff(TemplateAnnotator):
    """Stops a build in the middle, as a kill does, and counts what it was asked."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.asked = limit, 0

    def __call__(self, record):
        self.asked += 1
        if self.asked > self.limit:
            raise KeyboardInterrupt
        return super().__call__(record)


def test_a_build_that_was_cut_off_goes_on_behind_its_last_shard(
    write_ferplus, tmp_path, monkeypatch
):
    monkeypatch.setattr(FerPlus, "SHARD_ITEMS", 6)
    root, out = write_ferplus(), tmp_path / "built" / "ferplus"
    with pytest.raises(KeyboardInterrupt):
        build_folder("ferplus", root, out, CutOff(12))
    assert not out.exists()
    with pytest.raises(UsageError, match="was cut off. Go on by --resume"):
        build_folder("ferplus", root, out, TemplateAnnotator())
    with pytest.raises(UsageError, match="begun with another rule"):
        build_folder("ferplus", root, out, TemplateAnnotator(), BuildOptions("argmax"), resume=True)
    annotator = CutOff(100)
    done = build_folder("ferplus", root, out, annotator, resume=True)
    assert annotator.asked == 21 - 12  # the first two shards of six are not written again
    assert done.counts["conversation"]["train"]["written"] == 21
    build_folder("ferplus", root, tmp_path / "whole", TemplateAnnotator())
    files = sorted(file.relative_to(out) for file in out.rglob("*.*"))
    assert len(files) == 4 + 2 + 2 + 4 + 2
    for file in files:
        assert (out / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert [path.name for path in out.parent.iterdir()] == ["ferplus"]


@pytest.mark.slow
def test_several_processes_write_the_same(built, write_ferplus, tmp_path):
    build_folder("ferplus", write_ferplus(), tmp_path / "out", TemplateAnnotator(), num_proc=2)
    for file in (file for file in built[0].rglob("*") if file.is_file()):
        same = tmp_path / "out" / file.relative_to(built[0])
        assert same.read_bytes() == file.read_bytes()


def test_a_folder_that_holds_something_is_left_alone(write_ferplus, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="out: exists already"):
        build_folder("ferplus", write_ferplus(), tmp_path / "out", TemplateAnnotator())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(write_ferplus, tmp_path):
    (tmp_path / "out").mkdir()
    build_folder("ferplus", write_ferplus(), tmp_path / "out", TemplateAnnotator())
    assert (tmp_path / "out" / "README.md").is_file()


def test_a_place_that_cannot_be_written(write_ferplus, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="ferplus: cannot be written"):
        build_folder("ferplus", write_ferplus(), tmp_path / "file" / "ferplus", TemplateAnnotator())


def test_unknown_names(write_ferplus, tmp_path):
    with pytest.raises(UsageError, match="known are ferplus"):
        build_folder("fer", tmp_path, tmp_path / "out", TemplateAnnotator())
    with pytest.raises(UsageError, match="expected one of majority, argmax"):
        build_folder(
            "ferplus", tmp_path, tmp_path / "out", TemplateAnnotator(), BuildOptions("median")
        )
    with pytest.raises(InputNotFoundError):
        build_folder("ferplus", tmp_path, tmp_path / "out", TemplateAnnotator())


READ_ALL = """
import json, sys
from datasets import load_dataset
found = {}
for folder in sys.argv[1:]:
    rows = load_dataset(folder, "category")
    streamed = load_dataset(folder, "category", split="train", streaming=True)
    talk = load_dataset(folder, "conversation", split="train", streaming=True)
    first = next(iter(streamed))
    assert first["labels"] == rows["train"][0]["labels"] and first["label"] in first["labels"]
    assert "{" + ", ".join(first["labels"]) + "}" in first["messages"][0]["content"]
    sizes = {split: rows[split].num_rows for split in rows}
    found[folder] = [sizes, len(list(streamed)), len(list(talk)), len(first["images"])]
print(json.dumps([found, any(name.startswith("emo_llama") for name in sys.modules)]))
"""


@pytest.mark.slow
def test_every_build_is_read_by_a_process_that_has_not_seen_the_package(tmp_path):
    expected = {}
    for name, builder in BUILDERS.items():
        root, out = tmp_path / "roots" / name, tmp_path / "built" / name
        builder.write_synthetic(root, per_class=1)
        done = build_folder(name, root, out, TemplateAnnotator())
        sizes = {split: count["written"] for split, count in done.counts["category"].items()}
        frames = 8 if builder.KIND == "video" else 1
        expected[str(out)] = [sizes, sizes["train"], sizes["train"], frames]
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, *expected],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [expected, False]


def test_another_build_of_the_same_name_is_not_read_from_the_cache(write_ferplus, tmp_path):
    """`datasets` keeps what it read by the folder's name and the head of its README."""
    cache = str(tmp_path / "cache")
    labels = []
    for number, expression in enumerate(("happiness", "fear")):
        rows = [("Training", expression, [9 * (name == expression) for name in VOTES])] * 2
        root, out = write_ferplus(rows, f"in-{number}"), tmp_path / f"{number}" / "same"
        out.parent.mkdir()
        build_folder("ferplus", root, out, TemplateAnnotator())
        labels.append(load_dataset(str(out), "category", split="train", cache_dir=cache)["label"])
        strip_pictures(out, tmp_path / f"stripped-{number}" / "same")
        stripped = str(tmp_path / f"stripped-{number}" / "same")
        columns = load_dataset(stripped, "category", split="train", cache_dir=cache).column_names
        assert "images" not in columns
    assert [list(found) for found in labels] == [["happiness"] * 2, ["fear"] * 2]


def test_a_second_build_of_one_folder_is_refused(write_ferplus, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["data", "build", "ferplus", "--root", str(write_ferplus()), "--out", str(out)]
    with only_run(out):
        assert main(words) == 2
        assert "out: another run is writing here" in capsys.readouterr().err
        assert not out.exists() and not list(tmp_path.glob(".out.unfinished"))
    assert main(words) == 0


def with_exif(exif: bytes) -> bytes:
    """A JPEG of a drawn face with these bytes for its EXIF."""
    buffer = io.BytesIO()
    draw_face("happiness", len(exif), 64).save(buffer, "JPEG")
    jpeg, size = buffer.getvalue(), (len(exif) + 8).to_bytes(2, "big")
    return jpeg[:2] + b"\xff\xe1" + size + b"Exif\0\0" + exif + jpeg[2:]


def test_whatever_is_built_can_be_read_again(tmp_path):
    """Broken EXIF, transparency, 16 bits: a built row is what `predict` would see."""
    turned, make = Image.Exif(), b"MM\0*\0\0\0\x08\0\x02\x01\0\0\x02\0\0\0\x04abc\0"
    turned[0x112] = 6
    clear = Image.new("RGBA", (40, 30), (255, 0, 0, 0))
    deep = Image.fromarray(np.full((30, 40), 40_000, np.uint16))
    root = tmp_path / "mine"
    for label in ("happy", "sad"):
        (root / "test" / label).mkdir(parents=True)
        for number, exif in enumerate((b"x" * 20, b"II*\0\xff\xff\xff\xff", make, b"")):
            (root / "test" / label / f"{number}.jpg").write_bytes(with_exif(exif))
        draw_face("sadness", 1, 64).resize((64, 48)).save(
            root / "test" / label / "turned.jpg", exif=turned
        )
        clear.save(root / "test" / label / "clear.png")
        deep.save(root / "test" / label / "deep.png")
    done = build_folder("folder", root, tmp_path / "out", TemplateAnnotator())
    count = done.counts["category"]["test"]
    assert count["written"] + count["unreadable files"] == count["read"] == 14
    rows = load_dataset(str(tmp_path / "out"), split="test", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == count["written"] >= 12  # each of them decodes
    for row in rows:
        seen = read_image((root / row["file"]).read_bytes())
        assert np.array_equal(np.asarray(row["images"][0].convert("RGB")), np.asarray(seen))
