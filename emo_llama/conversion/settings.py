"""Fields of the configuration that a user sets, beside what the parts of a model tell."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from emo_llama.errors import UsageError
from emo_llama.modeling import EmoLlamaConfig

__all__ = ["CHANGEABLE", "changed_config"]

CHANGEABLE = ("vision_config", "qformer_config", "text_config", "fim_config")


def changed_config(parts: dict[str, Any], changes: Mapping[str, Any]) -> EmoLlamaConfig:
    """The configuration of a model with some fields set otherwise.

    Args:
        parts (`dict`): Arguments of [`EmoLlamaConfig`]; those of sub-models as `dict`.
        changes (`Mapping[str, Any]`):
            Fields to set otherwise, those of parts with a dot: `vision_config.num_attention_heads`.

    Returns:
        [`EmoLlamaConfig`]: The configuration.

    Raises:
        UsageError: A change names no field, or its value cannot be meant.

    Example:
    ```python
    >>> from emo_llama.conversion.settings import changed_config

    >>> changed_config({}, {"fim_config.face_tokens_per_frame": 4}).num_face_tokens
    4

    ```
    """
    usual = EmoLlamaConfig(**parts)
    parts = dict(parts)
    for key, value in changes.items():
        part, _, name = key.rpartition(".")
        if part not in ("", *CHANGEABLE) or not hasattr(getattr(usual, part, usual), name):
            raise UsageError(f"--set {key}: no such field. {_nearest(key, usual)}")
        if part:
            parts[part] = parts.get(part, {}) | {name: value}
        else:
            parts[name] = value
    try:
        return EmoLlamaConfig(**parts)
    except (StrictDataclassError, ValueError, TypeError) as error:
        said = ", ".join(f"{key}={value}" for key, value in changes.items())
        raise UsageError(f"--set {said}: the configuration does not take this: {error}") from error


def _nearest(key: str, config: EmoLlamaConfig) -> str:
    """The field that may be meant, or where fields are listed."""
    known = [name for name in config.to_dict() if name not in CHANGEABLE]
    known += [f"{part}.{name}" for part in CHANGEABLE for name in getattr(config, part).to_dict()]
    near = get_close_matches(key, known, n=1)
    if not near:  # without its part a field is known, too
        near = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    if near:
        return f"Did you mean {near[0]}?"
    return f"Name one of EmoLlamaConfig, or of {', '.join(CHANGEABLE)} with a dot."
