"""The export's edges: what it copies, what it refuses, and that nothing half-written stays."""

import json
import shutil

import pytest

from emo_llama import cli, loading
from emo_llama.errors import ModelNotFoundError, UsageError
from emo_llama.hub import export as hub_export
from emo_llama.hub.export import export
from emo_llama.loading import find_model
from emo_llama.testing import tiny_model, tiny_processor


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def model(saved, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(saved, tmp_path / "model")


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_weights_and_a_card_of_its_own_are_copied(model, tmp_path):
    (model / "README.md").write_text("# Measured\n")
    (model / "optimizer.pt").write_bytes(b"not for the Hub")
    out = export(model, tmp_path / "deep" / "hub")
    assert (out / "README.md").read_text() == "# Measured\n"
    weights = "model.safetensors"
    assert (out / weights).read_bytes() == (model / weights).read_bytes()
    assert not (out / "optimizer.pt").exists()
    assert out.stat().st_mode & 0o777 == 0o755


def test_sharded_weights_keep_their_index(saved, tmp_path):
    model = tmp_path / "model"
    tiny_model().save_pretrained(model, max_shard_size="100KB")
    tiny_processor().save_pretrained(model)
    out = export(model, tmp_path / "hub")
    shards = sorted(path.name for path in model.glob("model*.safetensors*"))
    assert len(shards) > 2
    assert sorted(path.name for path in out.glob("model*.safetensors*")) == shards
    whole = export(saved, tmp_path / "whole")
    count = next(x for x in (whole / "README.md").read_text().splitlines() if "parameters" in x)
    assert count in (out / "README.md").read_text()


def test_an_empty_folder_may_be_named(model, tmp_path):
    (tmp_path / "hub").mkdir()
    assert (export(model, tmp_path / "hub") / "config.json").exists()


def test_what_exists_is_not_overwritten(model, tmp_path):
    before = left(model)
    with pytest.raises(UsageError, match="exists already"):
        export(model, model)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="exists already"):
        export(model, tmp_path / "file")
    with pytest.raises(UsageError, match="cannot be written"):
        export(model, tmp_path / "file" / "below")
    assert left(model) == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: (m / "config.json").unlink(), "No model in .*config.json"),
        (lambda m: (m / "config.json").write_text("{"), "config.json' is not JSON"),
        (lambda m: (m / "config.json").write_text('{"model_type": "llava"}'), "'llava'; expected"),
        (lambda m: (m / "model.safetensors").unlink(), "model.safetensors' are missing"),
        (lambda m: (m / "model.safetensors").write_bytes(b"PK" * 40), "are damaged"),
        (lambda m: (m / "processor_config.json").unlink(), "no usable processor"),
        (
            lambda m: (m / "model.safetensors.index.json").write_text(
                json.dumps({"weight_map": {"lm_head.weight": "model-00002.safetensors"}})
            ),
            "model-00002.safetensors' are missing",
        ),
    ],
)
def test_folders_that_are_no_model(model, tmp_path, spoil, message):
    spoil(model)
    with pytest.raises(ModelNotFoundError, match=message):
        export(model, tmp_path / "hub")
    assert left(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("No space left on device")])
def test_nothing_half_written_is_left(model, tmp_path, monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(hub_export, "model_card", fail)
    expected = KeyboardInterrupt if error is KeyboardInterrupt else UsageError
    with pytest.raises(expected):
        export(model, tmp_path / "hub")
    assert left(tmp_path) == ["model"]


def test_a_missing_repository_is_named(monkeypatch):
    def refuse(repo_id, **kwargs):
        raise OSError("offline")

    monkeypatch.setattr(loading, "snapshot_download", refuse)
    with pytest.raises(ModelNotFoundError, match="someone/nothing"):
        find_model("someone/nothing")


def test_the_verb_names_the_folder(model, tmp_path, capsys):
    out = tmp_path / "hub"
    assert cli.main(["export", str(out), "--model", str(model)]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(out)
    assert "from_pretrained" in captured.err
    assert cli.main(["export", str(out), "--model", str(model)]) == 2
    assert "exists already" in capsys.readouterr().err
