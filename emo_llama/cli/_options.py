"""Options that several verbs have, each defined once; a verb picks those that it takes."""

import argparse
import os
import re
from pathlib import Path
from typing import Any

from emo_llama.errors import UsageError

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

SHARED: dict[str, dict[str, Any]] = {
    "--model": {
        "metavar": "M",
        "help": "folder or Hub repository (default: the embedded model)",
    },
    "--device": {"help": "cpu, cuda, mps (default: cuda where there is one)"},
    "--faces": {
        "choices": ("detect", "none"),
        "default": "detect",
        "help": "find the faces, or take each whole image for one (default: %(default)s)",
    },
    "--attributes": {
        "choices": ("off", "predicted"),
        "default": "off",
        "help": "age, gender and race before the question, as the face network guesses them, for "
        "models that were tuned so (default: %(default)s)",
    },
    "--prior": {
        "metavar": "NAME",
        "help": "operating point of the model: balanced names rare expressions more often, at the "
        "price of accuracy (default: the model's own)",
    },
    "--config": {
        "metavar": "FILE",
        "help": "the recipe: a YAML file, or the name of one that comes with the package",
    },
    "--data": {
        "metavar": "DIR",
        "help": "a folder that `data build` wrote, or pictures in one sub-folder a class; for tiny "
        "the folder of the official files",
    },
    "--out": {
        "type": Path,
        "required": True,
        "metavar": "DIR",
        "help": "the new folder to write",
    },
    "--resume": {
        "action": "store_true",
        "help": "go on with what an earlier run left, and keep what is good of it",
    },
    "--seed": {
        "type": int,
        "default": 0,
        "metavar": "N",
        "help": "of all that is drawn at random (default: %(default)s)",
    },
    "--set": {
        "action": "append",
        "default": [],
        "metavar": "FIELD=VALUE",
        "help": "a field of the configuration that nothing else tells, as num_query_tokens=16 or "
        "qformer_config.num_hidden_layers=4; can be given more than once",
    },
}


def add(parser: argparse._ActionsContainer, *names: str, **changes: Any) -> None:
    """Declares shared options of a verb.

    Args:
        parser (`argparse.ArgumentParser` or one of its groups): The verb's.
        names (`str`): Out of `SHARED`.
        changes (`Any`, *optional*): What is otherwise with this verb, as `required`.
    """
    for name in names:
        parser.add_argument(name, **(SHARED[name] | changes))


def changes(words: list[str]) -> dict[str, Any]:
    """What was set, each value read as YAML: numbers are numbers.

    Args:
        words (`list[str]`):
            What `--set` was given.

    Returns:
        `dict[str, Any]`: Values by field.

    Raises:
        UsageError: A word is no `FIELD=VALUE`.
    """
    import yaml

    found = {}
    for text in words:
        name, sign, value = text.partition("=")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {text}: the value cannot be read ({error})") from error
        if not (name and sign):
            raise UsageError(f"--set {text}: expected FIELD=VALUE, as num_attention_heads=4")
    return found


def refuse_address(path: str) -> None:
    """Refuse what is no file of this machine.

    Args:
        path (`str`):
            What was given as a file.

    Raises:
        UsageError: It is an address.
    """
    if ADDRESS.match(path) and not os.path.exists(path):
        raise UsageError(
            f"{path}: an address. Files of this machine are read: download it first, and name the "
            "file."
        )
