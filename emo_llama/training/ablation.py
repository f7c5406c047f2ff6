"""The ablation: one recipe, trained and scored with its parts switched, and compared row by row.

Decides which cells there are, in which order, and what they share: the encoders, and the features
of these on disk. Each cell is an ordinary run of [`emo_llama.training.tune`] in a folder of its
own; a finished cell is read, not trained again. The table is written after every cell.
"""

import copy
import itertools
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from trl import ModelConfig, SFTConfig

from emo_llama.errors import UsageError
from emo_llama.evaluation.comparison import compare, mean_over_runs
from emo_llama.files import write_text
from emo_llama.loading import find_model
from emo_llama.training.arguments import RecipeArguments
from emo_llama.training.data.instructions import InstructionData, built_instructions
from emo_llama.training.recipe import scratch_settings
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
OF_A_CELL = (*AXES, "seed", "output_dir", "export_to")
"""Settings that a cell decides, not the recipe of all."""


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


def ablate(
    recipe: RecipeArguments,
    sft: SFTConfig,
    peft: ModelConfig,
    grid: Grid,
    out: Path,
    facts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Trains and scores every cell, and writes the table.

    Args:
        recipe ([`RecipeArguments`]): What all cells share; the switches in it are set by the grid.
        sft ([`trl.SFTConfig`]): Settings of each tuning; its seed and work folder are the grid's.
        peft ([`trl.ModelConfig`]): The model to start from, and LoRA where `use_peft` is set.
        grid ([`Grid`]): What is tried.
        out (`Path`): Folder of the cells and of `ablation.json`; what is finished there is kept.
        facts (`dict`, *optional*): What the table shall say besides, as the command.

    Returns:
        `dict[str, Any]`: The table: `reference`, `cells`, `n`, `rule`, `labels`, `seeds`, and the
        facts.

    Raises:
        UsageError: The folder holds the cells of another recipe, the data have no validation split,
            or the model lacks what a cell reads.
    """
    cells = grid.cells(recipe.scratch is not None)
    if recipe.scratch is None:
        _check_model(peft.model_name_or_path, cells)
    _claim(out, recipe, sft, peft)
    shared = _shared(recipe, out)
    answers: dict[Cell, list[np.ndarray]] = {}
    targets, report = np.empty(0), {}
    for cell in cells:
        for seed in grid.seeds:
            folder = out / "cells" / f"{cell.name}-seed-{seed}"
            if not (folder / "model").is_dir():
                logger.info("%s, seed %d", cell.name, seed)
                _run(replace(shared, **cell._asdict()), sft, peft, seed, folder)
            with np.load(folder / ANSWERS) as scored:
                answers.setdefault(cell, []).append(scored["probabilities"].argmax(1))
                targets = scored["targets"]
            report = json.loads((folder / "model" / REPORT).read_text(encoding="utf-8"))
        table = _table(answers, targets, report, grid) | (facts or {})
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


def _claim(out: Path, recipe: RecipeArguments, sft: SFTConfig, peft: ModelConfig) -> None:
    """A folder belongs to one recipe and its data: to all settings, wherever they were given."""
    settings = asdict(recipe) | sft.to_dict() | asdict(peft)
    for name in OF_A_CELL:
        del settings[name]
    settings = json.loads(json.dumps(settings, default=str))  # as they are read again: no tuples
    path = out / "settings.json"
    if path.is_file():
        # an update of TRL may bring new settings, or take some away
        known = settings | json.loads(path.read_text(encoding="utf-8"))
        if other := sorted(name for name in settings if known[name] != settings[name]):
            raise UsageError(
                f"{out}: holds the ablation of another recipe or data ({', '.join(other)}). Name "
                "another --out."
            )
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(settings, indent=2))


def _shared(recipe: RecipeArguments, out: Path) -> RecipeArguments:
    """The recipe of all cells: data and encoders are made once, and their features kept."""
    data = Path(str(recipe.data))
    if recipe.scratch is None:
        data = built_instructions(data, out)
        if "validation" not in InstructionData(data).splits:
            raise UsageError(f"{data}: no split validation to score on. Build data that have one.")
        recipe = replace(recipe, data=str(data))
    else:
        given = None if recipe.encoders is None else Path(recipe.encoders)
        made = out / "encoders"
        build_from_scratch(scratch_settings(recipe), data, made, given)
        if given is None or (given / "config.json").is_file():  # a finished model is unpacked there
            recipe = replace(recipe, encoders=str(made))
    if recipe.feature_cache is None and {"vision_tower", "face_model"} <= set(recipe.frozen):
        recipe = replace(recipe, feature_cache=str(out / "features"))
    return recipe


def _run(
    recipe: RecipeArguments, sft: SFTConfig, peft: ModelConfig, seed: int, folder: Path
) -> None:
    """Trains one cell; its checkpoints are not kept."""
    # Not `replace`: TRL's settings were settled when they were read, and cannot be so twice. A
    # copy, since a training changes its own.
    sft = copy.deepcopy(sft)
    sft.seed, sft.output_dir = seed, str(folder)
    train(replace(recipe, export_to=None), sft, peft, resume=True)
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
            row["against_reference"] = compare(targets, first, guesses, len(labels))
        rows.append(row)
    facts = {"n": len(targets), "rule": report["rule"], "labels": labels}
    return facts | {"seeds": list(grid.seeds), "reference": reference._asdict(), "cells": rows}
