"""Reads the recipe of a training run, and says what is wrong with it before anything starts."""

import copy
from dataclasses import fields
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from trl import ModelConfig, SFTConfig, TrlParser

from emo_llama.errors import UsageError
from emo_llama.training.arguments import RecipeArguments
from emo_llama.training.parts import PARTS

__all__ = ["check_recipe", "find_recipe", "parse_recipe", "recipe_names", "scratch_settings"]


def parse_recipe(words: list[str]) -> tuple[RecipeArguments, SFTConfig, ModelConfig]:
    """Reads a recipe and what overrides it.

    Args:
        words (`list[str]`):
            `--config FILE` and any `--key value`; for `FILE` the name of one of the package's own
            recipes, too.

    Returns:
        `tuple[RecipeArguments, SFTConfig, ModelConfig]`: All settings.

    Raises:
        [`UsageError`]: The recipe cannot be read or holds a key that nothing knows.
    """
    kinds = (RecipeArguments, SFTConfig, ModelConfig)
    config, *others = words[words.index("--config") + 1 :]
    path = find_recipe(config)
    check_recipe(path, {setting.name for kind in kinds for setting in fields(kind)})
    try:
        recipe, sft, model = TrlParser(kinds).parse_args_and_config(
            ["--config", str(path), *others]
        )
    except (ValueError, OSError) as error:
        raise UsageError(
            f"{' '.join(words)}: the recipe cannot be read: {error}. See recipes/ for examples."
        ) from error
    unknown = sorted({name.partition(".")[0] for name in recipe.frozen} - set(PARTS))
    if unknown:
        raise UsageError(
            f"frozen: {', '.join(unknown)} is no part of the model; parts are {', '.join(PARTS)}."
        )
    _settle_stopping(recipe, sft)
    if recipe.data is None:
        raise UsageError("A recipe needs data: name its folder by --data DIR.")
    return recipe, sft, model


def _settle_stopping(recipe: RecipeArguments, sft: SFTConfig) -> None:
    """Early stopping looks at the validation answers wherever a checkpoint is written."""
    if not recipe.early_stopping_patience:
        return
    if recipe.ema_decay:
        raise UsageError(
            "early_stopping_patience keeps the best weights, ema_decay their average: set one of "
            "the two to 0."
        )
    sft.eval_strategy, sft.eval_steps = sft.save_strategy, sft.save_steps
    sft.load_best_model_at_end, sft.metric_for_best_model = True, "eval_loss"
    sft.greater_is_better = False


def check_recipe(path: Path, known: set[str]) -> None:
    """Looks at the keys of a recipe before anything else does.

    Args:
        path (`Path`): The YAML file.
        known (`set[str]`): Every setting that there is.

    Raises:
        [`UsageError`]: The file cannot be read, or has a key that is not known; the nearest is
            named.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{path}: the recipe cannot be read ({error}). Name a YAML file, or one of the "
            f"package's recipes: {', '.join(recipe_names())}."
        ) from error
    if not isinstance(settings, dict):
        raise UsageError(f"{path}: expected `setting: value` lines. See recipes/ for examples.")
    for key in settings:
        if key not in known | {"env"}:
            near = get_close_matches(str(key), known, n=1)
            meant = f"Did you mean {near[0]}?" if near else "Remove it."
            raise UsageError(f"{path}: there is no setting {key!r}. {meant}")


def recipe_names() -> list[str]:
    """The recipes that come with the package.

    Returns:
        `list[str]`: Their names.
    """
    found = (Path(str(entry)) for entry in resources.files("emo_llama.recipes").iterdir())
    return sorted(path.stem for path in found if path.suffix == ".yaml")


def find_recipe(name: str) -> Path:
    """The file of a recipe.

    Args:
        name (`str`): A path, or the name of a recipe that comes with the package.

    Returns:
        `Path`: The file; as given, where there is none.
    """
    own = Path(str(resources.files("emo_llama.recipes").joinpath(f"{name}.yaml")))
    return own if own.is_file() and not Path(name).is_file() else Path(name)


def scratch_settings(recipe: RecipeArguments) -> dict[str, Any]:
    """What a model from scratch is made of: `recipe.scratch` with its switches applied.

    Args:
        recipe ([`RecipeArguments`]): The recipe.

    Returns:
        `dict[str, Any]`: For [`build_from_scratch`].
    """
    scratch = copy.deepcopy(recipe.scratch or {})
    if recipe.tower == "face":
        scratch["tower"] = "face"
    switch = recipe.face_info_mining
    scratch["model"]["attribute_prompt"] = recipe.attributes
    if recipe.tower == "off":
        scratch["model"]["use_frame_tokens"] = False
    scratch["model"].setdefault("fim_config", {}).update(
        use_global=switch in ("both", "global"), use_local=switch in ("both", "local")
    )
    return scratch
