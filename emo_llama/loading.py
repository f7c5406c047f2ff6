"""Loads a model of this project from a folder or the Hub, with messages for what can be wrong."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from httpx2 import TransportError
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import GenerationConfig

from emo_llama.errors import ModelNotFoundError, UsageError
from emo_llama.modeling import (
    EmoLlamaConfig,
    EmoLlamaForConditionalGeneration,
    EmoLlamaProcessor,
)
from emo_llama.vetting import check_files, check_processor, check_settings, read_json
from emo_llama.weights import check_sizes, check_values, tensor_shapes, weight_files

EMBEDDED_MODEL = Path(__file__).parent / "assets" / "emo-llama-tiny"
_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
READING = {"trust_remote_code": False, "local_files_only": True}
"""How every folder is read: a configuration in it may name code, and code on the Hub."""

MAX_REASON = 400  # characters of a library's own message
TOKEN_SETTINGS = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
)
_MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "README.md")


def load_model(
    source: str | os.PathLike | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: str | dict[str, Any] | None = None,
) -> tuple[EmoLlamaForConditionalGeneration, EmoLlamaProcessor]:
    """Load a model and its processor with the installed code; nothing in a folder is run.

    A folder is vetted first (`emo_llama.vetting`): plain safetensors inside it, finite weights,
    sizes that the weights bear out, and a chat template of this project. Of the generation
    settings only token ids are taken over, so that answers stay greedy.

    Args:
        source (`str` or `PathLike`, *optional*):
            A folder, or a Hub repository such as `"team/name"`. The embedded model by default;
            only a Hub repository needs the network.
        device (`str` or `torch.device`, *optional*):
            Where the model goes; to the GPU, where there is one, by default.
        dtype (`str` or `torch.dtype`, *optional*):
            Type of the weights, as `"bfloat16"`; that of the checkpoint, by default.
        device_map (`str` or `dict`, *optional*):
            Where each part of the model goes, as accelerate takes it, in place of `device`.

    Returns:
        `tuple[EmoLlamaForConditionalGeneration, EmoLlamaProcessor]`: Ready to use.

    Raises:
        ModelNotFoundError: The folder or repository holds no model of this project, or one that
            is damaged or not to be trusted.
        UsageError: There is no such device or type.
    """
    options: dict[str, Any] = {} if dtype is None else {"dtype": find_dtype(dtype)}
    if device_map is None:
        place = find_device(device)
    else:
        if device is not None:
            raise UsageError("Expected device or device_map, got both. Leave one out.")
        options["device_map"], place = device_map, None
    folder = find_model(source)
    _check_folder(folder)
    check_files(folder)
    check_settings(folder, tensor_shapes(weight_files(folder)))
    with _told(folder):
        model, processor = _load(folder, options)
    return (model if place is None else model.to(place)), processor


def read_config(folder: Path) -> EmoLlamaConfig:
    """Read the configuration of a model folder.

    Args:
        folder (`Path`):
            The folder.

    Returns:
        [`EmoLlamaConfig`]: The configuration.

    Raises:
        ModelNotFoundError: It is damaged, or that of another kind of model.
    """
    path = folder / "config.json"
    kind = read_json(path).get("model_type")
    if kind != EmoLlamaConfig.model_type:  # transformers would go on with a mere warning
        raise ModelNotFoundError(
            f"{str(path)!r} is of model_type {kind!r}; expected {EmoLlamaConfig.model_type!r}. "
            "Convert other checkpoints with emo-llama convert."
        )
    with _told(folder):
        return EmoLlamaConfig.from_pretrained(folder, **READING)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Tell the folder and the reason, whatever reading it raises."""
    try:
        yield
    except ModelNotFoundError:
        raise
    except Exception as error:  # a damaged or hostile file can raise anything
        # Some libraries say no more than a key.
        reason = repr(error) if isinstance(error, KeyError) else str(error)
        if "trust_remote_code" in reason:  # transformers advises to pass it
            reason = "it needs Python code of its own, and code of a folder is never run."
        raise ModelNotFoundError(
            f"{folder}: no EMO-LLaMA model could be loaded from here: "
            f"{' '.join(reason.split())[:MAX_REASON] or repr(error)}"
        ) from error


def _load(
    folder: Path, options: dict[str, Any]
) -> tuple[EmoLlamaForConditionalGeneration, EmoLlamaProcessor]:
    """Load a folder whose files were looked over."""
    config = read_config(folder)
    files = weight_files(folder)
    with torch.device("meta"):
        outline = EmoLlamaForConditionalGeneration(config)
    check_sizes(outline, tensor_shapes(files), folder)
    check_values(outline, files)
    processor = EmoLlamaProcessor.from_pretrained(folder, **READING)
    check_processor(processor, config)
    model, report = EmoLlamaForConditionalGeneration.from_pretrained(
        folder,
        config=config,
        generation_config=_generation_config(folder, config),
        use_safetensors=True,
        output_loading_info=True,
        **READING,
        **options,
    )
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would go on with random weights
        raise ModelNotFoundError(
            f"{folder}: the weights lack {len(missing)} tensors, {missing[0]} among them. Download "
            "or convert the model again."
        )
    return model, processor


def _generation_config(folder: Path, config: EmoLlamaConfig) -> GenerationConfig:
    """Which tokens end, pad and never stand in an answer; beams and the like are left out."""
    path, size = folder / "generation_config.json", config.text_config.vocab_size
    stored = read_json(path) if path.exists() else config.text_config.to_dict()
    known = {key: stored[key] for key in TOKEN_SETTINGS if stored.get(key) is not None}
    for key, value in known.items():
        ids = value if isinstance(value, list) else [value]
        if not all(type(token) is int and 0 <= token < size for token in ids):
            raise ValueError(f"generation_config.json: expected token ids under {size} as {key}.")
    return GenerationConfig(**known)


def find_model(model: str | os.PathLike | None = None) -> Path:
    """The folder of a model.

    Args:
        model (`str` or `PathLike`, *optional*, defaults to the embedded model):
            A folder, or the id of a Hub repository, which is downloaded unless it is in the cache.

    Returns:
        `Path`: A folder with a `config.json`.

    Raises:
        ModelNotFoundError: There is none.
    """
    if model is None:
        return EMBEDDED_MODEL
    folder = Path(model).expanduser()
    if not folder.exists() and isinstance(model, str) and _REPO_ID.fullmatch(model):
        folder = _download(model)
    if not folder.is_dir():
        raise ModelNotFoundError(
            f"{str(model)!r}: no such folder. Name a folder that holds a model, or a Hub "
            "repository as team/name."
        )
    if not (folder / "config.json").is_file():
        raise ModelNotFoundError(
            f"No model in {str(folder)!r}: expected a folder with config.json, model.safetensors "
            "and processor_config.json, as save_pretrained and emo-llama train write it."
        )
    return folder


def find_device(name: str | torch.device | None) -> torch.device:
    """The device that a model shall run on.

    Args:
        name (`str` or `torch.device`, *optional*):
            As `"cpu"`, `"cuda"` or `"cuda:1"`; `None`: the GPU, where there is one.

    Returns:
        `torch.device`: The device, which is there.

    Raises:
        UsageError: There is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        found = torch.cuda.device_count()
        raise UsageError(
            f"device {str(name)!r} cannot be used here ({_first_line(error)}). PyTorch "
            f"{torch.__version__} sees {found} CUDA device{'s' * (found != 1)}: name cpu"
            f"{' or cuda' * bool(found)}, or install a PyTorch built for your device."
        ) from error
    return device


def find_dtype(name: str | torch.dtype) -> torch.dtype:
    """The type of weights that is meant.

    Args:
        name (`str` or `torch.dtype`):
            As `"float32"`, `"bfloat16"` or `torch.float16`.

    Returns:
        `torch.dtype`: A floating-point type.

    Raises:
        UsageError: There is no such type.
    """
    dtype = getattr(torch, name, None) if isinstance(name, str) else name
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise UsageError(f"Expected a dtype such as float32, bfloat16 or float16, got {name!r}.")
    return dtype


def _download(repository: str) -> Path:
    """The folder of a repository in the Hub's cache."""
    silence = _silence(repository)
    try:
        # Only the first request tells whether there is a repository; a file may take its time.
        folder = snapshot_download(
            repository, allow_patterns=list(_MODEL_FILES), local_files_only=silence is not None
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelNotFoundError(
            f"{repository!r}: there is no such folder here, and the Hub, which was asked for a "
            f"repository of this name, did not give it ({_first_line(silence or error)}). Name a "
            "folder that holds a model, or an existing repository as team/name."
        ) from error
    return Path(folder)


def _silence(repository: str) -> Exception | None:
    """Why the Hub does not answer, if so: `snapshot_download` would wait for it without end."""
    try:
        HfApi().model_info(repository, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except (HfHubHTTPError, HFValidationError):  # an answer
        return None
    except (TransportError, OSError) as error:
        return error
    return None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or repr(error)


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
