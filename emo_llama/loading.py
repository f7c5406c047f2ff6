"""Loads a model of this project from a folder or the Hub, with messages for what can be wrong."""

import os
import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import PreTrainedConfig

from emo_llama.errors import ModelNotFoundError
from emo_llama.modeling import (
    EmoLlamaConfig,
    EmoLlamaForConditionalGeneration,
    EmoLlamaProcessor,
)

EMBEDDED_MODEL = Path(__file__).parent / "assets" / "emo-llama-tiny"
_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
_MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "README.md")


def load_model(
    source: str | os.PathLike | None = None,
) -> tuple[EmoLlamaForConditionalGeneration, EmoLlamaProcessor]:
    """Load a model and its processor with the installed code; no remote code is run.

    Args:
        source (`str` or `PathLike`, *optional*):
            A folder, or a Hub repository such as `"team/name"`. The embedded model by default;
            only a Hub repository needs the network.

    Returns:
        `tuple[EmoLlamaForConditionalGeneration, EmoLlamaProcessor]`: On the CPU.

    Raises:
        ModelNotFoundError: The folder or repository holds no model of this project.
    """
    source = EMBEDDED_MODEL if source is None else source
    folder = Path(source).expanduser()
    if folder.is_dir():
        _check_folder(folder)
        source = folder
    elif _looks_like_path(source):
        raise ModelNotFoundError(f"{source}: no such folder. Name a folder that holds a model.")
    try:
        _check_kind(source)
        model, report = EmoLlamaForConditionalGeneration.from_pretrained(
            source, use_safetensors=True, output_loading_info=True
        )
        processor = EmoLlamaProcessor.from_pretrained(source)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelNotFoundError(
            f"{source}: no EMO-LLaMA model could be loaded from here: {error}"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would go on with random weights
        raise ModelNotFoundError(
            f"{source}: the weights lack {len(missing)} tensors, {missing[0]} among them. Download "
            "or convert the model again."
        )
    return model, processor


def find_model(model: str | Path | None = None) -> Path:
    """The folder of a model.

    Args:
        model (`str` or `Path`, *optional*, defaults to the embedded model):
            A folder, or the id of a Hub repository, which is downloaded unless it is in the cache.

    Returns:
        `Path`: A folder with a `config.json`.

    Raises:
        ModelNotFoundError: There is none.
    """
    folder = EMBEDDED_MODEL if model is None else Path(model)
    if model is not None and not folder.exists() and _REPO_ID.fullmatch(str(model)):
        try:
            folder = Path(snapshot_download(str(model), allow_patterns=list(_MODEL_FILES)))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            raise ModelNotFoundError(
                f"{model!r} is no folder here, and the Hub did not give it: {error} "
                "Name a folder that holds a model, or an existing repository as team/name."
            ) from error
    if not (folder / "config.json").is_file():
        raise ModelNotFoundError(
            f"No model in {str(folder)!r}: expected a folder with config.json, model.safetensors "
            "and processor_config.json, as save_pretrained and emo-llama train write it."
        )
    return folder


def _check_kind(source: str | os.PathLike) -> None:
    """Refuse another kind of model, which transformers would load with a mere warning."""
    kind = PreTrainedConfig.get_config_dict(source)[0].get("model_type")
    if kind != EmoLlamaConfig.model_type:
        raise ValueError(f"expected a config.json with model_type 'emo_llama', found {kind!r}.")


def _looks_like_path(source: str | os.PathLike) -> bool:
    """Whether this can be no Hub repository: those are `name` or `team/name`."""
    text = os.fspath(source)
    if isinstance(source, Path) or text.startswith((".", "~", "/")):
        return True
    return text.endswith("/") or text.count("/") > 1


def _check_folder(folder: Path) -> None:
    """Say what a folder lacks, before transformers says it in its own way."""
    missing = [
        name for name in ("config.json", "processor_config.json") if not (folder / name).is_file()
    ]
    if not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise ModelNotFoundError(
            f"{folder}: expected a model of this project, but the folder lacks "
            f"{', '.join(missing)}. Name a folder that `emo-llama train` or `emo-llama export` "
            "wrote."
        )
