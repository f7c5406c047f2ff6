"""The ablation: one recipe, trained and scored with its parts switched, and compared row by row.

Decides which cells there are, in which order, and what they share: the encoders, and the features
of these on disk. Each cell is an ordinary run of [`emo_llama.training.tune`] in a folder of its
own; a finished cell is read, not trained again. The table is written after every cell.
"""

import itertools
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emo_llama.errors import UsageError
from emo_llama.evaluation.comparison import compare, mean_over_runs
from emo_llama.files import write_text
from emo_llama.loading import find_model
from emo_llama.training.arguments import RecipeArguments
from emo_llama.training.data.instructions import InstructionData, built_instructions
from emo_llama.training.recipe import parse_recipe, scratch_settings
from emo_llama.training.scratch.assembling import build_from_scratch
from emo_llama.training.tune import ANSWERS, REPORT, train

__all__ = ["AXES", "Cell", "Grid", "ablate"]

logger = logging.getLogger(__name__)

AXES = {
    "face_info_mining": ("both", "global", "local", "off"),
    "attributes": ("off", "predicted"),
    "tower": ("generic", "face", "off"),
}
"""The switches and their settings; the first of each is what the others are compared with."""


class Cell(NamedTuple):
    """One setting of all switches.

    Args:
        face_info_mining (`str`): Which clues reach the language model.
        attributes (`str`): Whether age, gender and race stand before the question.
        tower (`str`): The vision tower.
    """

    face_info_mining: str
    attributes: str
    tower: str

    @property
    def name(self) -> str:
        """`str`: Of its folder."""
        return f"fim-{self.face_info_mining}-attributes-{self.attributes}-tower-{self.tower}"


@dataclass(frozen=True, slots=True)
class Grid:
    """What is tried.

    Args:
        face_info_mining (`Sequence[str]`): Out of [`AXES`].
        attributes (`Sequence[str]`): Likewise.
        tower (`Sequence[str]`): Likewise; empty: all that the recipe can have.
        seeds (`Sequence[int]`): Each cell is trained once with each.
    """

    face_info_mining: Sequence[str]
    attributes: Sequence[str]
    tower: Sequence[str]
    seeds: Sequence[int]

    def cells(self, is_scratch: bool) -> list[Cell]:
        """Every combination that leaves anything to see, the reference first.

        Args:
            is_scratch (`bool`): Whether the recipe makes its encoders: only then is there a choice
                of towers.

        Returns:
            `list[Cell]`: In the order of the table.

        Raises:
            UsageError: Nothing is left, or a tower that only a recipe with `scratch` has is named.
        """
        if "face" in self.tower and not is_scratch:
            raise UsageError(
                "--tower face: a finished model keeps its own tower. Name --tower generic,off, or "
                "a recipe with `scratch`."
            )
        towers = self.tower or [t for t in AXES["tower"] if is_scratch or t != "face"]
        every = itertools.product(towers, self.attributes, self.face_info_mining)
        cells = [Cell(fim, attributes, tower) for tower, attributes, fim in every]
        cells = [cell for cell in cells if (cell.face_info_mining, cell.tower) != ("off", "off")]
        if not cells:
            raise UsageError("face_info_mining and tower are both off: nothing is left to train.")
        return cells


def ablate(words: list[str], grid: Grid, out: Path) -> dict[str, Any]:
    """Trains and scores every cell, and writes the table.

    Args:
        words (`list[str]`): `--config FILE` and what overrides it, as in [`parse_recipe`].
        grid ([`Grid`]): What is tried.
        out (`Path`): Folder of the cells and of `ablation.json`; what is finished there is kept.

    Returns:
        `dict[str, Any]`: The table: `reference`, `cells`, `n`, `rule`, `labels`, `seeds`, and the
        words as `command`.

    Raises:
        UsageError: The recipe cannot be read, the folder holds the cells of another one, the data
            have no validation split, or the model lacks what a cell reads.
    """
    recipe, _, peft = parse_recipe([*words, "--output_dir", str(out)])
    cells = grid.cells(recipe.scratch is not None)
    if recipe.scratch is None:
        _check_model(peft.model_name_or_path, cells)
    _claim(out, words)
    shared = _shared(words, recipe, out)
    answers: dict[Cell, list[np.ndarray]] = {}
    targets, report = np.empty(0), {}
    for cell in cells:
        for seed in grid.seeds:
            folder = out / "cells" / f"{cell.name}-seed-{seed}"
            if not (folder / "model").is_dir():
                logger.info("%s, seed %d", cell.name, seed)
                _run(shared, cell, seed, folder)
            with np.load(folder / ANSWERS) as scored:
                answers.setdefault(cell, []).append(scored["probabilities"].argmax(1))
                targets = scored["targets"]
            report = json.loads((folder / "model" / REPORT).read_text(encoding="utf-8"))
        table = _table(answers, targets, report, grid) | {"command": words}
        write_text(out / "ablation.json", json.dumps(table, indent=2))
    return table


def _check_model(model: str | None, cells: list[Cell]) -> None:
    """Says before anything is trained what the model to start from lacks."""
    config = json.loads((find_model(model) / "config.json").read_text(encoding="utf-8"))
    reading = [
        cell
        for cell in cells
        if cell.face_info_mining in ("global", "local") or cell.attributes == "predicted"
    ]
    if reading and config.get("face_config") is None:
        raise UsageError(
            f"{model}: has no face network, which {reading[0].name} reads. Name "
            "--face-info-mining both --attributes off, or another model."
        )


def _claim(out: Path, words: list[str]) -> None:
    """A folder belongs to one recipe and its data."""
    settings = out / "words.json"
    if settings.is_file() and json.loads(settings.read_text(encoding="utf-8")) != words:
        raise UsageError(
            f"{out}: holds the ablation of another recipe or data. Name another --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(words), encoding="utf-8")


def _shared(words: list[str], recipe: RecipeArguments, out: Path) -> list[str]:
    """The words of all cells: data and encoders are made once, and their features kept."""
    data = Path(str(recipe.data))
    if recipe.scratch is None:
        data = built_instructions(data, out)
        if "validation" not in InstructionData(data).splits:
            raise UsageError(f"{data}: no split validation to score on. Build data that have one.")
        words = [*words, "--data", str(data)]
    else:
        given = None if recipe.encoders is None else Path(recipe.encoders)
        parts = out / "encoders"
        build_from_scratch(scratch_settings(recipe), data, parts, given)
        if given is None or (given / "config.json").is_file():  # a finished model is unpacked there
            words = [*words, "--encoders", str(parts)]
    if recipe.feature_cache is None and {"vision_tower", "face_model"} <= set(recipe.frozen):
        words = [*words, "--feature_cache", str(out / "features")]
    return words


def _run(words: list[str], cell: Cell, seed: int, folder: Path) -> None:
    """Trains one cell; its checkpoints are not kept."""
    switches = [word for name, value in cell._asdict().items() for word in (f"--{name}", value)]
    places = ["--seed", str(seed), "--output_dir", str(folder)]
    recipe, sft, peft = parse_recipe([*words, *switches, *places])
    recipe.export_to = None
    train(recipe, sft, peft, resume=True)
    shutil.rmtree(folder / "tuning", ignore_errors=True)


def _table(
    answers: dict[Cell, list[np.ndarray]],
    targets: np.ndarray,
    report: dict[str, Any],
    grid: Grid,
) -> dict[str, Any]:
    """Scores of each cell, and what sets it apart from the first."""
    (reference, first), *_ = answers.items()
    labels = report["labels"]
    rows = []
    for cell, guesses in answers.items():
        row = cell._asdict() | mean_over_runs(targets, guesses, len(labels))
        if cell != reference:
            row["against_reference"] = compare(targets, first, guesses)
        rows.append(row)
    facts = {"n": len(targets), "rule": report["rule"], "labels": labels}
    return facts | {"seeds": list(grid.seeds), "reference": reference._asdict(), "cells": rows}
