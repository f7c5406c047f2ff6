import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from emo_llama.cli import main
from emo_llama.dataset_builders.ferplus import (
    VOTES,
    FerPlus,
    argmax_label,
    held_out_digests,
    majority_label,
    read_ferplus,
)
from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.labels import FERPLUS


@pytest.mark.parametrize(
    ("votes", "majority", "argmax"),
    [
        ([4, 5, 0, 0, 0, 0, 1, 0, 0, 0], 1, 1),  # the single vote does not count: 5 of 9
        ([4, 5, 0, 0, 0, 0, 0, 0, 1, 0], 1, 1),
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], None, 0),  # half is not more than half
        ([3, 2, 2, 2, 1, 0, 0, 0, 0, 0], None, 0),
        ([0, 1, 1, 1, 1, 2, 1, 1, 1, 1], 5, 5),  # two votes are all that is left
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], None, 0),
        ([1, 0, 0, 2, 0, 0, 0, 0, 7, 0], None, None),  # unknown
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], None, None),  # not a face
        ([0] * 10, None, None),
    ],
)
def test_rules(votes, majority, argmax):
    assert majority_label(votes) == majority
    assert argmax_label(votes) == argmax


def test_rows_are_joined_by_row_and_come_in_the_original_order(write_ferplus):
    rows = list(read_ferplus(write_ferplus(), keep_repeats=True))
    assert [row.row_index for row in rows] == list(range(40))
    assert [row.usage for row in rows[22:26]] == ["Training"] * 2 + ["PublicTest"] * 2
    assert rows[1].votes == (1, 9, 0, 0, 0, 0, 0, 0, 0, 0)
    assert rows[22].votes == (0, 0, 0, 0, 0, 0, 0, 0, 0, 10)
    assert rows[1].image().size == (48, 48)
    assert rows[23].digest() == rows[25].digest() != rows[1].digest()
    assert Image.open(io.BytesIO(rows[1].png())).tobytes() == rows[1].pixels


def test_repeats_of_held_out_pictures_leave_training_only(write_ferplus):
    root = write_ferplus()
    kept = [row.row_index for row in read_ferplus(root)]
    assert kept == [index for index in range(40) if index != 23]
    assert len(held_out_digests(root)) == 16
    assert [row.row_index for row in read_ferplus(root, ("PublicTest",))] == list(range(24, 32))


def test_the_other_official_file_has_blanks_in_its_header_and_another_order(write_ferplus):
    root = write_ferplus()
    expected = list(read_ferplus(root))
    with open(root / "fer2013.csv", newline="") as file:
        rows = list(csv.reader(file))
    (root / "fer2013.csv").unlink()
    with open(root / "icml_face_data.csv", "w", newline="") as file:
        csv.writer(file).writerow(["emotion", " Usage", " pixels"])
        csv.writer(file).writerows([row[0], row[2], row[1]] for row in rows[1:])
    assert list(read_ferplus(root)) == expected


def test_the_synthetic_copy_has_every_label_in_every_split_and_no_repeats(tmp_path):
    FerPlus.write_synthetic(tmp_path / "drawn", per_class=2)
    rows = list(read_ferplus(tmp_path / "drawn"))
    assert [row.usage for row in rows[::16]] == ["Training", "PublicTest", "PrivateTest"]
    assert [majority_label(row.votes) for row in rows] == list(range(8)) * 6
    assert len({row.digest() for row in rows}) == 48


def shard(rows) -> pa.Table:
    columns = {
        "row_index": [row.row_index for row in rows],
        "usage": [row.usage for row in rows],
        "image_png": [row.png() for row in rows],
    }
    votes = {f"votes_{name}": [row.votes[i] for row in rows] for i, name in enumerate(VOTES)}
    return pa.table(columns | votes)


def test_parquet_shards_give_the_same_rows_whatever_the_files_are_called(write_ferplus, tmp_path):
    rows = list(read_ferplus(write_ferplus(), keep_repeats=True))
    folder = tmp_path / "shards"
    folder.mkdir()
    pq.write_table(shard(rows[24:]), folder / "a.parquet")
    pq.write_table(shard(rows[:24]), folder / "b.parquet")
    assert list(read_ferplus(folder, keep_repeats=True)) == rows


def empty(root):
    (root / "fer2013.csv").write_text("")


def header_only(root):
    (root / "fer2013.csv").write_text("emotion,pixels,Usage\n")
    (root / "fer2013new.csv").write_text(f"Usage,Image name,{','.join(FERPLUS)},unknown,NF\n")


def other_header(root):
    (root / "fer2013new.csv").write_text("a,b\n1,2\n")


def one_row_less(root):
    path = root / "fer2013new.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def other_order(root):
    path = root / "fer2013new.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")


def bad_pixel(root):
    path = root / "fer2013.csv"
    path.write_text(path.read_text().replace(" 40 ", " 400 ", 1))


def words_for_pixels(root):
    path = root / "fer2013.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], "0,no pixels here,Training", *lines[4:]]) + "\n")


def cut_off(root):
    path = root / "fer2013.csv"
    path.write_text(path.read_text()[:-6000])


def bad_vote(root):
    path = root / "fer2013new.csv"
    path.write_text(path.read_text().replace(",9,", ",nine,", 1))


def binary(root):
    (root / "fer2013.csv").write_bytes(b"\xff\xd8\xff\xe0" * 500)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (empty, "fer2013.csv: expected a header.*file is empty.*kaggle"),
        (header_only, "fer2013.csv: expected rows below the header"),
        (other_header, "fer2013new.csv: expected a header with Usage, neutral.*'a', 'b'"),
        (one_row_less, "fer2013new.csv: ends after 39 rows while .*fer2013.csv goes on"),
        (other_order, "fer2013.csv, row 0: Usage is 'Training' where .* has 'PrivateTest'"),
        (bad_pixel, "fer2013.csv, row 0: expected 2304 grey values"),
        (words_for_pixels, "fer2013.csv, row 2: .*found 3 entries beginning 'no pixels here'"),
        (cut_off, "fer2013.csv, line 41: expected 3 columns"),
        (bad_vote, "fer2013new.csv, row 1: expected ten whole numbers"),
        (binary, "fer2013.csv: expected a CSV text file"),
    ],
)
def test_a_damaged_file_is_named_with_what_was_expected(write_ferplus, damage, message):
    root = write_ferplus()
    damage(root)
    with pytest.raises(DataFormatError, match=f"(?is){message}"):
        list(read_ferplus(root, keep_repeats=True))


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (["fer2013.csv"], "found no fer2013.csv"),
        (["fer2013new.csv"], "found no fer2013new.csv"),
        (["fer2013.csv", "fer2013new.csv"], "found no fer2013.csv and no fer2013new.csv"),
    ],
)
def test_a_missing_file_is_named_with_where_to_get_it(write_ferplus, gone, message):
    root = write_ferplus()
    for name in gone:
        (root / name).unlink()
    with pytest.raises(InputNotFoundError, match=f"{message}.*github.com/microsoft/FERPlus"):
        list(read_ferplus(root))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputNotFoundError, match="nowhere: expected the folder"):
        list(read_ferplus(tmp_path / "nowhere"))


def test_damaged_shards(write_ferplus, tmp_path):
    table = shard(list(read_ferplus(write_ferplus())))
    path = tmp_path / "shards" / "a.parquet"
    path.parent.mkdir()
    cases = {
        "it has no column votes_nf": table.drop_columns("votes_nf"),
        "it has no rows": table.slice(0, 0),
        "row 24: expected a PNG of 48x48": table.set_column(
            2, "image_png", pa.array([b"no picture"] * len(table))
        ),
        "nothing in usage": table.set_column(1, "usage", pa.nulls(len(table), pa.string())),
    }
    for message, damaged in cases.items():
        pq.write_table(damaged, path)
        with pytest.raises(DataFormatError, match=f"a.parquet.*{message}"):
            list(read_ferplus(path.parent))
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataFormatError, match="a.parquet: expected a readable Parquet shard"):
        list(read_ferplus(path.parent))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("image_png", ["text"] * 40),
        ("image_png", [b"BM" + b"\xff" * 60] * 40),
        ("row_index", ["first"] * 40),
        ("votes_fear", ["many"] * 40),
        ("votes_fear", [-1] * 40),
        ("votes_nf", [0.5] * 40),
        ("usage", [{"a": 1}] * 40),
    ],
)
def test_shards_of_other_types_end_in_a_message(column, values, write_ferplus, tmp_path, capsys):
    table = shard(list(read_ferplus(write_ferplus(), keep_repeats=True)))
    place = table.column_names.index(column)
    (tmp_path / "shards").mkdir()
    table = table.set_column(place, column, pa.array(values[: len(table)]))
    pq.write_table(table, tmp_path / "shards" / "a.parquet")
    words = ["--root", str(tmp_path / "shards"), "--out", str(tmp_path / "out")]
    assert main(["data", "build", "ferplus", *words, "--landmarks", "none"]) == 1
    assert "a.parquet" in capsys.readouterr().err
