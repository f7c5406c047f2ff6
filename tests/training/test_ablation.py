"""The ablation by its command: every cell a real run, a table, a plot, and nothing done twice."""

import json
from pathlib import Path

import pytest
import yaml

from emo_llama.cli import main
from emo_llama.dataset_builders.synthetic import draw_face
from emo_llama.testing import tiny_config, tiny_model
from emo_llama.training import ablation
from emo_llama.training.ablation import AXES, Grid
from emo_llama.training.recipe import parse_recipe

SETTINGS = {
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "assistant_only_loss": True,
    "max_length": None,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "use_cpu": True,
}


@pytest.fixture
def words(tmp_path, tiny_folder, ferplus_build):
    """The command over a recipe that tunes the tiny model."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"model_name_or_path": str(tiny_folder)} | SETTINGS))
    places = ["--data", str(ferplus_build[0]), "--out", str(tmp_path / "out")]
    return ["ablate", "--config", str(recipe), *places]


@pytest.mark.slow
def test_every_cell_is_trained_once(words, tmp_path, capsys):
    axes = ["--face-info-mining", "both,off", "--tower", "generic,off", "--attributes", "off"]
    assert main([*words, *axes, "--seeds", "0,1"]) == 0
    page = capsys.readouterr().out
    table = json.loads((tmp_path / "out" / "ablation.json").read_text())
    switched = [(cell["face_info_mining"], cell["tower"]) for cell in table["cells"]]
    assert switched == [("both", "generic"), ("off", "generic"), ("both", "off")]
    assert all(len(cell["runs"]) == 2 for cell in table["cells"])
    assert "against_reference" not in table["cells"][0]
    assert len(table["cells"][1]["against_reference"]["runs"]) == 2
    assert page.count("\n| ") == 4 and "n = 8 rows" in page
    assert (tmp_path / "out" / "ablation.md").read_text() in page
    assert (tmp_path / "out" / "ablation.png").stat().st_size > 5000
    assert not list((tmp_path / "out").glob("cells/*/tuning"))

    models = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("cells/*/model")}
    assert len(models) == 6
    assert main([*words, *axes, "--seeds", "0"]) == 0  # a smaller table of what is there
    assert all(path.stat().st_mtime_ns == when for path, when in models.items())
    assert main([*words, *axes, "--seeds", "0", "--learning_rate", "1e-5"]) == 2
    assert "of another recipe or data (learning_rate)" in capsys.readouterr().err
    path = Path(words[2])
    path.write_text(path.read_text() + "warmup_steps: 1\n")  # the same words, another recipe
    assert main([*words, *axes, "--seeds", "0"]) == 2
    assert "of another recipe or data (warmup_steps)" in capsys.readouterr().err


def test_wrong_axes_are_named(words, capsys):
    assert main([*words, "--tower", "eiffel"]) == 2
    assert "there is no eiffel; choose from generic, face, off" in capsys.readouterr().err
    assert main([*words, "--seeds", "a"]) == 2
    assert "expected numbers as 0,1,2" in capsys.readouterr().err
    assert main([*words, "--face-info-mining", "off", "--tower", "off"]) == 2
    assert "nothing is left to train" in capsys.readouterr().err


def test_what_cannot_be_trained_is_said_before_anything_is(words, tmp_path, capsys):
    assert main([*words, "--tower", "generic,face"]) == 2
    assert "a finished model keeps its own tower. Name --tower" in capsys.readouterr().err
    blind = tmp_path / "blind"
    tiny_model(tiny_config(face_config=None)).save_pretrained(blind)
    assert main([*words, "--model_name_or_path", str(blind)]) == 2
    assert "has no face network, which fim-global" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_pictures_are_built_once_for_all_cells(words, tmp_path, capsys):
    for number in range(24):
        label = ("calm", "bored")[number % 2]
        path = tmp_path / "mine" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_face(("neutral", "sadness")[number % 2], number, 64).save(path)
    axes = ["--face-info-mining", "both,off", "--tower", "generic", "--attributes", "off"]
    assert main([*words, *axes, "--seeds", "0", "--data", str(tmp_path / "mine")]) == 0
    assert len(list((tmp_path / "out").rglob("report.json"))) == 1
    (tmp_path / "train").mkdir()
    (tmp_path / "mine").rename(tmp_path / "train" / "train")
    words = [*words, *axes, "--data", str(tmp_path / "train"), "--out", str(tmp_path / "other")]
    assert main(words) == 2
    assert "no split validation to score on" in capsys.readouterr().err
    assert not (tmp_path / "other" / "cells").exists()


def test_the_whole_grid_leaves_out_the_blind_model():
    cells = Grid(**AXES, seeds=[0]).cells(is_scratch=True)
    assert len(cells) == len(set(cells)) == 4 * 2 * 3 - 2
    open_towers = Grid(**AXES | {"tower": []}, seeds=[0])
    assert open_towers.cells(is_scratch=True) == cells
    assert {cell.tower for cell in open_towers.cells(is_scratch=False)} == {"generic", "off"}
    assert cells[0] == ("both", "off", "generic")


@pytest.mark.parametrize("kind", ["none", "run", "model"])
def test_cells_share_encoders(kind, tmp_path, monkeypatch):
    """Those of an earlier run as they are; those of a finished model once they are unpacked."""
    made = []
    monkeypatch.setattr(ablation, "build_from_scratch", lambda *args: made.append(args[1:]))
    given, out = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    if kind == "model":
        (given / "config.json").touch()
    words = ["--config", "tiny", "--data", "data"]
    words += [] if kind == "none" else ["--encoders", str(given)]
    recipe = ablation._shared(parse_recipe(words)[0], out)
    assert made == [(Path("data"), out / "encoders", None if kind == "none" else given)]
    assert recipe.encoders == str(given if kind == "run" else out / "encoders")
    assert recipe.feature_cache == str(out / "features")
