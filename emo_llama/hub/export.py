"""The export of a model: one folder that holds all that `trust_remote_code` needs.

Decides what lies in the folder: weights (copied byte for byte), configuration and processor with
the entries for transformers' Auto classes, the travelling code, a model card. The folder gets its
name only when it is complete. Uploading is not done here.
"""

import shutil
from pathlib import Path

from emo_llama import modeling
from emo_llama.errors import ModelNotFoundError
from emo_llama.files import complete_folder
from emo_llama.hub.card import model_card
from emo_llama.loading import READING, find_model, read_config
from emo_llama.modeling import EmoLlamaConfig, EmoLlamaProcessor
from emo_llama.vetting import check_files, check_settings
from emo_llama.weights import INDEX, SINGLE, num_parameters, tensor_shapes, weight_files

__all__ = [
    "AUTO_MAP",
    "FACE_AUTO_MAP",
    "export",
    "travelling_files",
    "write_config",
    "write_processor",
]

COPIED = ("generation_config.json", "validation.json")
"""Files that lie beside the weights as they are: token ids, and the report of the card's scores."""

AUTO_MAP = {
    "AutoConfig": "configuration_emo_llama.EmoLlamaConfig",
    "AutoModel": "modeling_emo_llama.EmoLlamaForConditionalGeneration",
    "AutoModelForCausalLM": "modeling_emo_llama.EmoLlamaForConditionalGeneration",
    "AutoModelForImageTextToText": "modeling_emo_llama.EmoLlamaForConditionalGeneration",
    "AutoModelForMultimodalLM": "modeling_emo_llama.EmoLlamaForConditionalGeneration",
    "AutoProcessor": "processing_emo_llama.EmoLlamaProcessor",
    "AutoImageProcessor": "image_processing_emo_llama.EmoLlamaImageProcessor",
}
FACE_AUTO_MAP = {
    "AutoConfig": "configuration_facexformer.FaceXFormerConfig",
    "AutoModel": "modeling_facexformer.FaceXFormerModel",
}


def export(model_dir: str | Path | None, out: str | Path) -> Path:
    """Write the complete Hub folder of a model.

    Args:
        model_dir (`str` or `Path`, *optional*):
            A folder that `save_pretrained` wrote, or a Hub repository; `None` for the embedded
            model.
        out (`str` or `Path`):
            The folder to write. It must not exist, or be empty.

    Returns:
        `Path`: The folder.

    Raises:
        ModelNotFoundError: There is no model in this project's format, or its weights are damaged.
        UsageError: `out` holds something already, or cannot be written.

    Example:
    ```python
    >>> import tempfile
    >>> from emo_llama.hub.export import export
    >>> from emo_llama.testing import tiny_model, tiny_processor

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tiny_model().save_pretrained(f"{folder}/model")
    ...     _ = tiny_processor().save_pretrained(f"{folder}/model")
    ...     exported = export(f"{folder}/model", f"{folder}/hub")
    ...     (exported / "modeling_emo_llama.py").exists()
    True

    ```
    """
    source, out = find_model(model_dir), Path(out)
    check_files(source)
    weights = weight_files(source)
    shapes = tensor_shapes(weights)
    check_settings(source, shapes)
    config = read_config(source)
    index = [source / INDEX] if weights[0].name != SINGLE else []
    with complete_folder(out) as folder:
        write_config(config, folder)
        write_processor(_load_processor(source), folder)
        for path in [*weights, *index, *(source / name for name in COPIED)]:
            if path.exists():
                shutil.copyfile(path, folder / path.name)
        card = source / "README.md"
        text = card.read_text(encoding="utf-8") if card.exists() else None
        text = text or model_card(out.name, config, num_parameters(shapes))
        (folder / "README.md").write_text(text, encoding="utf-8")
    return out


def travelling_files() -> list[Path]:
    """The Python files that travel with a model: all of `emo_llama.modeling` but its `__init__`.

    Returns:
        `list[Path]`: Sorted by name.

    Example:
    ```python
    >>> from emo_llama.hub.export import travelling_files

    >>> "processing_emo_llama.py" in [path.name for path in travelling_files()]
    True

    ```
    """
    folder = Path(modeling.__file__).parent
    return sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")


def write_config(config: EmoLlamaConfig, folder: Path) -> None:
    """Writes a configuration with the entries for the Auto classes, and the travelling code.

    Args:
        config ([`EmoLlamaConfig`]): The configuration.
        folder (`Path`): Where to write.
    """
    config.auto_map = dict(AUTO_MAP)
    config.save_pretrained(folder)
    for path in travelling_files():
        shutil.copyfile(path, folder / path.name)


def _load_processor(source: Path) -> EmoLlamaProcessor:
    try:
        return EmoLlamaProcessor.from_pretrained(source, **READING)
    except (OSError, ValueError, TypeError) as error:
        raise ModelNotFoundError(
            f"The folder {str(source)!r} has a model but no usable processor ({error}). Save one "
            "beside it with processor.save_pretrained(folder)."
        ) from error


def write_processor(processor: EmoLlamaProcessor, folder: Path) -> None:
    """Writes a processor with its entries for AutoProcessor and AutoImageProcessor.

    Args:
        processor ([`EmoLlamaProcessor`]): The processor.
        folder (`Path`): Where to write.
    """
    for tokenizer in (processor.tokenizer, processor.qformer_tokenizer):
        for trace in ("is_local", "local_files_only"):  # of how it was loaded here
            tokenizer.init_kwargs.pop(trace, None)
    processor.auto_map = {"AutoProcessor": AUTO_MAP["AutoProcessor"]}
    images = processor.image_processor
    images.auto_map = {"AutoImageProcessor": AUTO_MAP["AutoImageProcessor"]}
    processor.save_pretrained(folder)
    # AutoTokenizer asks for a config beside each tokenizer. Where it is missing and there is no
    # network, transformers takes the language model's tokenizer for this one, with a mere warning.
    (folder / "qformer_tokenizer" / "config.json").write_text("{}\n")
