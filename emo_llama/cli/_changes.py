"""The option `--set FIELD=VALUE`, which several verbs have."""

import argparse
from typing import Any

from emo_llama.errors import UsageError


def add_set(parser: argparse.ArgumentParser) -> None:
    """Declare the option.

    Args:
        parser (`argparse.ArgumentParser`):
            The parser of a verb.
    """
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of the configuration that nothing else tells, as num_query_tokens=16 or "
        "qformer_config.num_hidden_layers=4; can be given more than once",
    )


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
