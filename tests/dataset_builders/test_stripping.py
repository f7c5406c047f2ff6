import json

import pytest
from datasets import load_dataset

from emo_llama.dataset_builders.stripping import join_pictures, strip_pictures
from emo_llama.errors import DataFormatError, InputNotFoundError, UsageError


@pytest.fixture
def stripped(ferplus_build, tmp_path):
    out = tmp_path / "annotations"
    strip_pictures(ferplus_build[0], out)
    return out


def test_a_stripped_folder_loads_and_holds_no_picture(stripped, tmp_path):
    rows = load_dataset(str(stripped), "category", cache_dir=str(tmp_path / "cache"))
    assert {split: len(part) for split, part in rows.items()} == {
        "train": 21,
        "validation": 8,
        "test": 8,
    }
    assert "images" not in rows["train"].column_names
    assert b"\x89PNG" not in b"".join(file.read_bytes() for file in stripped.rglob("*.parquet"))
    assert "join_pictures" in (stripped / "README.md").read_text()


@pytest.mark.parametrize("config", ["category", "conversation"])
def test_joining_gives_back_what_was_stripped(
    ferplus_build, stripped, write_ferplus, tmp_path, config
):
    root = write_ferplus()
    joined = join_pictures(stripped, root, config)
    whole = load_dataset(
        str(ferplus_build[0]), config, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert joined.column_names == whole.column_names
    assert joined["id"] == whole["id"]
    assert joined["messages"] == whole["messages"]
    for one, other in zip(joined["images"], whole["images"], strict=True):
        assert one[0].tobytes() == other[0].tobytes()


def test_an_incomplete_copy_is_refused(stripped, write_ferplus):
    root = write_ferplus()
    for name in ("fer2013.csv", "fer2013new.csv"):
        lines = (root / name).read_text().splitlines(keepends=True)
        (root / name).write_text("".join(lines[:1] + lines[3:]))
    with pytest.raises(DataFormatError, match="annotated items are not there"):
        join_pictures(stripped, root)


def test_what_was_not_built_or_is_there_already(ferplus_build, stripped, tmp_path):
    with pytest.raises(InputNotFoundError, match=r"report\.json"):
        strip_pictures(tmp_path, tmp_path / "out")
    with pytest.raises(UsageError, match="exists already"):
        strip_pictures(ferplus_build[0], stripped)


def test_the_report_says_that_pictures_may_not_be_shared(ferplus_build):
    report = json.loads((ferplus_build[0] / "report.json").read_text())
    assert report["pictures_may_be_shared"] is False
    assert set(report["sha256"]) == {
        str(file.relative_to(ferplus_build[0])) for file in ferplus_build[0].rglob("*.parquet")
    }
