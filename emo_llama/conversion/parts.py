"""The two large parts of a composed model: a causal language model and a vision tower.

Decides which folders will do and how their weights are read. Configurations are looked at before
any weight is; code that lies in a folder is never run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import metadata_load
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_MAPPING,
)
from transformers.models.instructblip.configuration_instructblip import InstructBlipVisionConfig
from transformers.models.instructblip.modeling_instructblip import InstructBlipVisionModel

from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.loading import READING, find_model
from emo_llama.modeling.processing_emo_llama import PLACEHOLDERS
from emo_llama.vetting import check_code

__all__ = ["LanguagePart", "TowerPart", "licence"]

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
PICTURE_FILES = ("preprocessor_config.json", "processor_config.json")
NO_SETTINGS = ("_name_or_path", "architectures", "auto_map", "dtype", "transformers_version")
TOWER_PREFIX = r"^(model\.)?vision_(model|tower)\.(vision_model\.)?"


class LanguagePart:
    """A causal language model in a folder.

    Args:
        source (`str`): A folder, or a Hub repository such as `"team/name"`.

    Raises:
        ModelNotFoundError: There is no such folder or repository.
        InputNotFoundError: A file is missing.
        DataFormatError: It holds no causal language model that fits.
    """

    def __init__(self, source: str) -> None:
        self.name, self.folder = _name(source), _folder(source, "--llm")
        self.config = config = _read_config(self.folder)
        classes = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
        is_causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not config.sub_configs
        if not is_causal or (config.architectures and classes.isdisjoint(config.architectures)):
            kind = ", ".join(config.architectures or []) or config.model_type
            raise DataFormatError(
                f"{self.folder / 'config.json'}: expected a causal language model for text alone, "
                f"found {kind}. Name one by --llm, as Qwen/Qwen3-0.6B."
            )
        _refuse_quantized(config, self.folder)
        self.tokenizer = _read_tokenizer(self.folder)
        self.rows = max(config.vocab_size, 1 + max(self.tokenizer.get_vocab().values()))

    def settings(self) -> dict[str, Any]:
        """`dict[str, Any]`: The configuration with room for all tokens."""
        ids = {"vocab_size": self.rows, "pad_token_id": self.tokenizer.pad_token_id}
        return _settings(self.config) | ids

    def load(self, dtype: torch.dtype | None) -> PreTrainedModel:
        """Reads the weights; rows for new tokens are drawn from the global generator.

        Args:
            dtype (`torch.dtype`, *optional*): Of the weights; as they are by default.

        Returns:
            `PreTrainedModel`: With its head, on the CPU.

        Raises:
            DataFormatError: Weights are missing, damaged, or more than a body and a linear head.
        """
        model = _load(AutoModelForCausalLM, self.folder, self.config, dtype)
        self._check_scores(model)
        embedding: Any = model.get_input_embeddings()
        if self.rows > embedding.weight.shape[0]:
            model.resize_token_embeddings(self.rows, mean_resizing=False)
        return model

    @torch.no_grad()
    def _check_scores(self, model: Any) -> None:
        """Compares the model's scores with what EMO-LLaMA makes of the same weights."""
        head, body = model.get_output_embeddings(), model.base_model
        embedding = body.get_input_embeddings()
        kind = f"{self.folder}: {type(model).__name__}"
        if self.config.tie_word_embeddings and embedding is not getattr(body, "embed_tokens", None):
            raise DataFormatError(
                f"{kind} ties its head to an embedding that is not called embed_tokens, which "
                "EMO-LLaMA cannot keep tied. Name another model by --llm, as Qwen/Qwen3-0.6B."
            )
        ids = torch.arange(min(3, self.config.vocab_size))[None]
        states = body(inputs_embeds=embedding(ids)).last_hidden_state
        same = torch.equal(head(states), model(ids).logits)
        if getattr(head, "bias", None) is not None or not same:
            raise DataFormatError(
                f"{kind} scores words by more than a linear layer without bias over its last "
                "states (scaled, capped or shifted), which EMO-LLaMA does not compute. Name "
                "another model by --llm, as Qwen/Qwen3-0.6B."
            )


class TowerPart:
    """A vision tower in a folder, alone or inside a larger model.

    Args:
        source (`str`): A folder, or a Hub repository such as `"team/name"`.

    Raises:
        ModelNotFoundError: There is no such folder or repository.
        InputNotFoundError: A file is missing.
        DataFormatError: It holds no vision tower that fits.
    """

    def __init__(self, source: str) -> None:
        self.name, self.folder = _name(source), _folder(source, "--vision")
        whole = _read_config(self.folder)
        _refuse_quantized(whole, self.folder)
        self.config = getattr(whole, "vision_config", whole)
        if hasattr(self.config, "vision_use_head"):
            self.config.vision_use_head = False  # SigLIP's pooling: patches are what is wanted
        eva = type(self.config) is InstructBlipVisionConfig
        cls: Any = InstructBlipVisionModel if eva else MODEL_MAPPING.get(type(self.config), None)
        if cls is None or cls.main_input_name != "pixel_values":
            raise DataFormatError(
                f"{self.folder / 'config.json'}: expected a vision tower, or a model that has one "
                f"as vision_config; found {whole.model_type}. Name one by --vision, as "
                "google/siglip2-base-patch16-224."
            )
        self.cls = cls
        self.image_settings = _image_settings(self.folder, self.config)

    def settings(self) -> dict[str, Any]:
        """`dict[str, Any]`: The configuration."""
        return _settings(self.config)

    def load(self, dtype: torch.dtype | None) -> PreTrainedModel:
        """Reads the weights.

        Args:
            dtype (`torch.dtype`, *optional*): Of the weights; as they are by default.

        Returns:
            `PreTrainedModel`: The tower, on the CPU.

        Raises:
            DataFormatError: Weights are missing or damaged.
        """
        tower = _load(self.cls, self.folder, self.config, dtype, key_mapping={TOWER_PREFIX: ""})
        if isinstance(tower, InstructBlipVisionModel):
            tower.add_module("post_layernorm", nn.Identity())  # as EMO-LLaMA runs EVA
        return tower

    @torch.no_grad()
    def grid_size(self, tower: PreTrainedModel, width: int) -> int:
        """Runs the tower on an empty picture, as EMO-LLaMA does.

        Args:
            tower (`PreTrainedModel`): The loaded tower.
            width (`int`): Width of its states by the configuration.

        Returns:
            `int`: Patches along one side.

        Raises:
            DataFormatError: It does not give a grid of patches for a picture.
        """
        side = self.image_settings["size"]
        try:
            image = torch.zeros(1, 3, side, side, dtype=tower.dtype)
            states = tower(image, return_dict=True).last_hidden_state
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise DataFormatError(
                f"{self.folder}: {type(tower).__name__} does not take a picture of {side} pixels "
                f"({str(error).splitlines()[0] if str(error) else error!r}). Put the tower's own "
                "preprocessor_config.json beside it, or name another one by --vision."
            ) from error
        if states.ndim == 4:  # a convolutional tower: (1, C, h, w)
            states = states.flatten(2).transpose(1, 2)
        if states.ndim != 3 or states.shape[-1] != width:
            raise DataFormatError(
                f"{self.folder}: expected states (1, patches, {width}) of the tower, got "
                f"{tuple(states.shape)}. Name another one by --vision."
            )
        return int(states.shape[1] ** 0.5)


def licence(folder: Path) -> str | None:
    """The licence that a model card states.

    Args:
        folder (`Path`): With a `README.md`, or without.

    Returns:
        `str`: As in the card's front matter; `None` where it states none.
    """
    try:
        known = metadata_load(folder / "README.md") or {}
    except (OSError, ValueError):
        return None
    except Exception:  # whatever YAML raises: a card is written by hand
        return None
    named = known.get("license_name") if known.get("license") == "other" else known.get("license")
    return str(named) if named else None


def _name(source: str) -> str:
    """What a card calls a part: a folder by its own name, so that no path is told."""
    path = Path(source)
    return path.resolve().name if path.exists() else source


def _folder(source: str, option: str) -> Path:
    folder = Path(source).expanduser()
    if folder.exists() and not (folder / "config.json").is_file():
        raise InputNotFoundError(
            f"{folder}: expected a model folder with config.json. Name one by {option}."
        )
    return folder if folder.exists() else find_model(source)


def _read_config(folder: Path) -> PreTrainedConfig:
    try:
        check_code(folder / "config.json")
        return AutoConfig.from_pretrained(str(folder), **READING)
    except Exception as error:  # a damaged file can raise anything
        raise DataFormatError(
            f"{folder / 'config.json'}: expected the configuration of a model that this version "
            f"of transformers knows ({_first_line(error)}). Fetch it again, or name another model."
        ) from error


def _refuse_quantized(config: PreTrainedConfig, folder: Path) -> None:
    if getattr(config, "quantization_config", None) is not None:
        raise DataFormatError(
            f"{folder / 'config.json'}: the weights are quantized. Name the model that they were "
            "made from."
        )


def _settings(config: PreTrainedConfig) -> dict[str, Any]:
    """A part's configuration without what tells of its folder."""
    return {key: value for key, value in config.to_dict().items() if key not in NO_SETTINGS}


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer with both placeholders and a padding token."""
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise InputNotFoundError(
            f"{folder}: expected the language model's tokenizer, found none of "
            f"{', '.join(TOKENIZER_FILES)}. Put its files beside the weights."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **READING)
    except Exception as error:  # a damaged file can raise anything
        raise DataFormatError(
            f"{folder}: the tokenizer cannot be read ({_first_line(error)}). Fetch its files again."
        ) from error
    if tokenizer.eos_token is None:
        raise DataFormatError(
            f"{folder / 'tokenizer_config.json'}: expected an eos_token, which ends an answer; "
            "found none. Add it there."
        )
    tokenizer.add_tokens(list(PLACEHOLDERS), special_tokens=True)
    if tokenizer.pad_token is None and tokenizer.unk_token is not None:
        tokenizer.pad_token = tokenizer.unk_token
    elif tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    return tokenizer


def _image_settings(folder: Path, config: PreTrainedConfig) -> dict[str, Any]:
    """Size, mean, deviation and resampling of the tower's own pictures."""
    try:
        if any((folder / name).is_file() for name in PICTURE_FILES):
            known = AutoImageProcessor.from_pretrained(str(folder), backend="pil", **READING)
            size = known.crop_size if getattr(known, "do_center_crop", False) else known.size
            size = dict(size or {})
            side = size.get("height") or size["shortest_edge"]
        else:
            known, side = _usual_image_settings(config), config.image_size
    except Exception as error:  # a damaged file can raise anything
        raise DataFormatError(
            f"{folder}: expected {PICTURE_FILES[0]} with the size, mean and deviation of the "
            f"tower's pictures ({_first_line(error)}). Fetch that file of the tower."
        ) from error
    names = ("image_mean", "image_std", "resample", "rescale_factor")
    return {"size": int(side)} | {name: getattr(known, name) for name in names}


def _usual_image_settings(config: PreTrainedConfig) -> Any:
    """The image processor that transformers has for this type of tower."""
    import transformers

    kind = config.model_type.removesuffix("_vision_model")
    return getattr(transformers, IMAGE_PROCESSOR_MAPPING_NAMES[kind]["pil"])()


def _load(
    cls: Any, folder: Path, config: PreTrainedConfig, dtype: torch.dtype | None, **options: Any
) -> PreTrainedModel:
    """Reads weights, none of which may be missing."""
    options |= {"config": config, "dtype": dtype or "auto", "output_loading_info": True}
    with _quiet_report():
        try:
            model, report = cls.from_pretrained(str(folder), **READING, **options)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise DataFormatError(
                f"{folder}: the weights cannot be read ({_first_line(error)}). Fetch them again."
            ) from error
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise DataFormatError(
            f"{folder}: expected the weights of {type(model).__name__}; {len(missing)} are "
            f"missing, {missing[0]} among them. Name the complete checkpoint."
        )
    return model.eval()


@contextmanager
def _quiet_report() -> Iterator[None]:
    """Without the table of keys that a larger model has beside the part: they are not wanted."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or repr(error)
