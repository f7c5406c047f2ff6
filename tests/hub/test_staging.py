"""What a push would send, found without any Hub: which files, and that no picture leaves."""

import hashlib
import json
import shutil

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from emo_llama import cli
from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.dataset_builders.build import build_folder
from emo_llama.dataset_builders.folder import Folder
from emo_llama.dataset_builders.stripping import strip_pictures
from emo_llama.errors import DataFormatError, InputNotFoundError, ModelNotFoundError, UsageError
from emo_llama.hub.staging import KINDS, hashed, stage_dataset, stage_model

PNG = b"\x89PNG"


@pytest.fixture
def built(ferplus_build, tmp_path):
    """FERPlus, whose pictures may not leave; a copy to spoil."""
    return shutil.copytree(ferplus_build[0], tmp_path / "built")


@pytest.fixture(scope="module")
def own_build(tmp_path_factory):
    """A folder of one's own pictures."""
    root = tmp_path_factory.mktemp("mine")
    Folder.write_synthetic(root / "pictures", per_class=1)
    build_folder("folder", root / "pictures", root / "built", TemplateAnnotator())
    return root / "built"


def content(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def columns(folder):
    return {name for path in folder.rglob("*.parquet") for name in pq.read_schema(path).names}


def test_no_picture_of_a_set_that_forbids_it_leaves(built, tmp_path):
    assert PNG in content(built)
    shutil.copy(next(built.rglob("*.parquet")), built / "category" / "stray-copy.parquet")
    (built / "face.png").write_bytes(PNG)
    out = stage_dataset(tmp_path, "team/name", built)
    assert PNG not in content(out)
    assert columns(out) & {"images", "videos"} == set()
    assert {path.suffix for path in out.rglob("*") if path.is_file()} == {
        ".md",
        ".json",
        ".parquet",
    }
    assert "face.png" not in hashed(out)


def test_no_word_opens_a_set_that_forbids_it(built, tmp_path):
    with pytest.raises(UsageError, match="licence of ferplus keeps its pictures at home"):
        stage_dataset(tmp_path, "team/name", built, with_pictures=True)
    report = json.loads((built / "report.json").read_text())
    report["pictures_may_be_shared"] = True
    (built / "report.json").write_text(json.dumps(report))
    assert PNG not in content(stage_dataset(tmp_path, "team/name", built))


def test_a_report_without_checksums_opens_nothing(built, tmp_path):
    """As a stripped folder has it: its Parquet files are looked into."""
    report = json.loads((built / "report.json").read_text())
    del report["sha256"]
    (built / "report.json").write_text(json.dumps(report))
    with pytest.raises(DataFormatError, match="may hold pictures, so nothing was sent"):
        stage_dataset(tmp_path, "team/name", built)


def test_a_stripped_folder_is_sent_as_it_is(built, tmp_path):
    strip_pictures(built, tmp_path / "stripped")
    out = stage_dataset(tmp_path, "team/name", tmp_path / "stripped")
    card = (out / "README.md").read_text()
    assert card.count("## Pictures") == 1
    assert 'load_dataset("team/name", "category"' in card
    assert 'join_pictures(snapshot_download("team/name", repo_type="dataset"), ' in card
    assert len(load_dataset(str(out), "category", split="train")) == 21


def test_own_pictures_leave_on_the_owners_word_only(own_build, tmp_path):
    assert json.loads((own_build / "report.json").read_text())["pictures_may_be_shared"] is None
    out = stage_dataset(tmp_path / "without", "team/name", own_build)
    assert PNG not in content(out)
    out = stage_dataset(tmp_path / "with", "team/name", own_build, with_pictures=True)
    assert columns(out) >= {"images"}
    rows = load_dataset(str(out), "category", split="train")
    assert rows[0]["images"][0].size


def test_the_same_data_is_staged_in_the_same_bytes(built, tmp_path):
    one = hashed(stage_dataset(tmp_path / "one", "team/name", built))
    two = hashed(stage_dataset(tmp_path / "two", "team/name", built))
    assert {name: file.sha256 for name, file in one.items()} == {
        name: file.sha256 for name, file in two.items()
    }


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda b: (b / "report.json").unlink(), InputNotFoundError, "expected a folder that"),
        (lambda b: (b / "report.json").write_text("{}"), DataFormatError, "names no data set"),
        (lambda b: (b / "report.json").write_text("[]"), DataFormatError, "names no data set"),
        (lambda b: (b / "README.md").unlink(), InputNotFoundError, "README.md: is missing"),
        (lambda b: next(b.glob("*/*.parquet")).unlink(), InputNotFoundError, "is missing"),
        (
            lambda b: next(b.glob("*/*.parquet")).write_bytes(b"PAR1"),
            DataFormatError,
            "is not the file that was built",
        ),
    ],
)
def test_a_data_set_that_is_not_whole(built, tmp_path, spoil, error, message):
    spoil(built)
    with pytest.raises(error, match=message):
        stage_dataset(tmp_path, "team/name", built)


@pytest.mark.parametrize("path", ["../secret.parquet", "category/../../secret.parquet", "/etc/x"])
def test_a_report_cannot_name_files_elsewhere(own_build, tmp_path, path):
    built = shutil.copytree(own_build, tmp_path / "deep" / "built")
    secret = b"not of this folder"
    (tmp_path / "secret.parquet").write_bytes(secret)
    (tmp_path / "deep" / "secret.parquet").write_bytes(secret)
    report = json.loads((built / "report.json").read_text())
    report["sha256"][path] = hashlib.sha256(secret).hexdigest()
    (built / "report.json").write_text(json.dumps(report))
    with pytest.raises(InputNotFoundError, match="is missing"):
        stage_dataset(tmp_path / "out", "team/name", built, with_pictures=True)


def test_a_model_is_staged_in_the_same_bytes_and_names_its_repository(tiny_folder, tmp_path):
    one = hashed(stage_model(tmp_path / "one", "team/name", str(tiny_folder)))
    two = hashed(stage_model(tmp_path / "two", "team/name", str(tiny_folder)))
    assert {name: file.sha256 for name, file in one.items()} == {
        name: file.sha256 for name, file in two.items()
    }
    assert 'path = "team/name"' in one["README.md"].path.read_text()
    assert {"config.json", "model.safetensors", "modeling_emo_llama.py"} <= one.keys()


def test_checksums_are_those_of_git_and_of_the_content(tmp_path):
    (tmp_path / "file").write_bytes(b"hello\n")
    (file,) = hashed(tmp_path).values()
    assert file.git_oid == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    assert (file.size, file.sha256) == (6, hashlib.sha256(b"hello\n").hexdigest())


def test_an_incomplete_model_is_refused_before_any_connection(tiny_folder, tmp_path, capsys):
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    (model / "model.safetensors").unlink()
    assert cli.main(["push", "model", "team/name", "--model", str(model)]) == 2
    assert "model.safetensors' are missing" in capsys.readouterr().err
    with pytest.raises(ModelNotFoundError):
        stage_model(tmp_path / "out", "team/name", str(model))


def test_a_dry_run_prints_files_checksums_and_card_and_needs_no_network(built, capsys, monkeypatch):
    def refuse(*args):
        raise AssertionError("a dry run connects to nothing")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setenv("HF_TOKEN", "hf_never_shown")
    assert cli.main(["push", "dataset", "team/name", "--data", str(built), "--dry-run"]) == 0
    captured = capsys.readouterr()
    listed, _, card = captured.out.partition("\n\n")
    rows = [line.split() for line in listed.splitlines()]
    assert all(len(digest) == 64 and int(size.replace(",", "")) for digest, size, _ in rows)
    assert {"README.md", "report.json"} < {path for *_, path in rows}
    assert card.startswith("---\n") and "# Instruction data from ferplus" in card
    assert "nothing was sent" in captured.err
    assert "hf_never_shown" not in captured.out + captured.err


def test_what_a_user_has_put_into_a_repository_is_not_ours(tiny_folder, tmp_path):
    owns = KINDS["model"].owns
    sent = hashed(stage_model(tmp_path, "team/name", str(tiny_folder)))
    assert [path for path in sent if not owns(path, "name")] == []
    assert owns("model-00001-of-00002.safetensors", "name")
    for path in ("LICENSE", "onnx/config.json", "adapter_model.safetensors", "my/modeling_own.py"):
        assert not owns(path, "name")
    assert not KINDS["dataset"].owns("category/old/x.parquet", "name")
