"""Checks the front matter of a card as the Hub would, before there is a connection.

The Hub refuses a commit whose README.md has metadata that it cannot read. It tells so only when it
is asked, and only one who is logged in; here a fault is found in a dry run as well. Names of
licences are left to the Hub: its list grows.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from fnmatch import fnmatch
from typing import Any

import yaml
from huggingface_hub.errors import HFValidationError
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.repocard_data import model_index_to_eval_results
from huggingface_hub.utils import validate_repo_id

from emo_llama.errors import UsageError

__all__ = ["check_card"]

LISTS = ("tags", "datasets", "metrics", "model-index", "task_categories", "size_categories")
TEXTS = ("license_name", "library_name", "pipeline_tag", "pretty_name", "title", "emoji")
IDS = ("base_model", "datasets")
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
MAX_DESCRIPTION = 60
_PLAIN = re.compile(r"[a-z0-9][a-z0-9.\-]*")


def check_card(text: str, repo_type: str, files: Collection[str]) -> None:
    r"""Makes sure that the Hub will take a card.

    Args:
        text (`str`):
            The README.
        repo_type (`str`):
            `"model"`, `"dataset"` or `"space"`.
        files (`Collection[str]`):
            Paths of the repository, for what the card names of them.

    Raises:
        UsageError: It will not; every fault is named.

    Example:
    ```python
    >>> from emo_llama.hub.front_matter import check_card

    >>> check_card("---\ntags:\n- emo-llama\n---\n# A model", "model", [])
    ```
    """
    faults = list(_faults(text, repo_type, files))
    if faults:
        raise UsageError(
            f"README.md: the Hub will not take this front matter: {'; '.join(faults)}. Mend the "
            "lines between the first two ---; nothing was sent."
        )


def _faults(text: str, repo_type: str, files: Collection[str]) -> Iterator[str]:
    block = REGEX_YAML_BLOCK.search(text)
    try:
        head = yaml.safe_load(block[2]) if block else None
    except yaml.YAMLError as error:
        yield f"it is no YAML ({' '.join(str(error).split())})"
        return
    if not isinstance(head, dict) or not head:
        yield "expected a block of keys and values between two lines ---"
        return
    yield from _common_faults(head)
    yield from KIND_FAULTS[repo_type](head, files)


def _common_faults(head: Mapping[str, Any]) -> Iterator[str]:
    for key in LISTS:
        if not isinstance(head.get(key, []), list):
            yield f"{key} must be a list"
    for key in TEXTS:
        if not isinstance(head.get(key, ""), str):
            yield f"{key} must be text"
    for key in IDS:
        yield from (f"{key} {name!r} is no name of a repository" for name in _not_ids(head, key))
    if len(str(head.get("short_description", ""))) > MAX_DESCRIPTION:
        yield f"short_description has more than {MAX_DESCRIPTION} characters"
    if "license_name" in head and not _PLAIN.fullmatch(str(head["license_name"])):
        yield "license_name may have small letters, digits, - and ."


def _not_ids(head: Mapping[str, Any], key: str) -> Iterator[Any]:
    value = head.get(key, [])
    for name in value if isinstance(value, list) else [value]:
        try:
            if not isinstance(name, str):
                yield name
            validate_repo_id(name)
        except HFValidationError:
            yield name


def _model_faults(head: Mapping[str, Any], files: Collection[str]) -> Iterator[str]:
    if not isinstance(head.get("model-index", []), list) or "model-index" not in head:
        return
    try:
        _, results = model_index_to_eval_results(head["model-index"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        yield f"model-index lacks or misplaces {error}"
        return
    for result in results:
        value = result.metric_value
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            yield f"model-index: {result.metric_type} is {value!r}, no number"


def _dataset_faults(head: Mapping[str, Any], files: Collection[str]) -> Iterator[str]:
    for config in head.get("configs", []):
        try:
            name = config["config_name"]
            patterns = [part["path"] for part in config["data_files"]]
        except (KeyError, TypeError) as error:
            yield f"configs lack or misplace {error}"
            continue
        for pattern in patterns:
            if not any(fnmatch(path, pattern) for path in files):
                yield f"configs: {name} names {pattern}, and no file is called so"


def _space_faults(head: Mapping[str, Any], files: Collection[str]) -> Iterator[str]:
    if head.get("sdk") not in ("gradio", "docker", "static"):
        yield f"sdk is {head.get('sdk')!r}, expected gradio"
    for key in ("colorFrom", "colorTo"):
        if key in head and head[key] not in COLOURS:
            yield f"{key} must be one of {', '.join(COLOURS)}"
    app = head.get("app_file", "app.py")
    if app not in files:
        yield f"app_file {app!r} is not among the files"


KIND_FAULTS: Mapping[str, Callable[[Mapping[str, Any], Collection[str]], Iterator[str]]] = {
    "model": _model_faults,
    "dataset": _dataset_faults,
    "space": _space_faults,
}
