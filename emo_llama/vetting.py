"""Looks over a model folder that nobody has vetted, before transformers reads anything of it.

Decides which files of a folder may be read, how large they may be, and which settings may stand in
them: a configuration can name code, files and repositories elsewhere, and sizes that take a machine
down. Everything is told from the text of the files and the headers of the weights. Loading is left
to `emo_llama.loading`.
"""

import json
import math
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, TemplateSyntaxError

from emo_llama.chat import Turns
from emo_llama.errors import ModelNotFoundError
from emo_llama.modeling import EmoLlamaConfig, EmoLlamaProcessor
from emo_llama.modeling.processing_emo_llama import chat_template

__all__ = [
    "check_code",
    "check_files",
    "check_inside",
    "check_processor",
    "check_settings",
    "check_template",
    "read_json",
]

SETTINGS = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
READ_FROM = (".", "qformer_tokenizer", "additional_chat_templates")
READ = (".json", ".jinja", ".txt", ".model", ".safetensors", ".md")
MAX_SETTINGS_BYTES = 4_000_000
MAX_TOKENIZER_BYTES = 100_000_000  # Gemma's has 33 million
MAX_DEPTH = 64
MAX_REPEATS = 256  # layers, experts, stages: 126 in the deepest language models
MAX_SIDE = 1024  # pixels
MAX_FRAMES = 1024
MAX_GROWTH = 64  # of a text in the tokenizer; a Llama's makes one character of one
ATTENTION: tuple[Any, ...] = (None, "eager", "sdpa", "flex_attention")
"""What a file may ask for; every other name is a kernel that is fetched from the Hub and run."""

_REPEATED = re.compile(r"layers|depth|experts|blocks|num_labels|num_hidden_groups")


def check_files(folder: Path) -> None:
    """Make sure that every file of a model folder is an ordinary one inside it, of sensible size.

    Args:
        folder (`Path`):
            The folder.

    Raises:
        ModelNotFoundError: A file leads elsewhere, is no regular file, or is too large.
    """
    for path in (path for place in READ_FROM for path in sorted((folder / place).glob("*"))):
        if path.suffix not in READ:
            continue
        check_inside(folder, path)
        limit = MAX_SETTINGS_BYTES if path.name in SETTINGS else MAX_TOKENIZER_BYTES
        if path.suffix != ".safetensors" and path.stat().st_size > limit:
            raise ModelNotFoundError(
                f"{path}: {path.stat().st_size / 1e6:.0f} MB, more than the {limit / 1e6:.0f} MB "
                "that are read. Save the model again."
            )


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of settings.

    Args:
        path (`Path`):
            The file.

    Returns:
        `dict[str, Any]`: Its content.

    Raises:
        ModelNotFoundError: It is no JSON object, or nested deeper than `MAX_DEPTH`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelNotFoundError(f"{str(path)!r} is not JSON ({error}). Save it again.") from error
    if not isinstance(content, dict):
        raise ModelNotFoundError(
            f"{path}: expected a JSON object, found {type(content).__name__}. Save it again."
        )
    for depth, _, _ in _entries(content):
        if depth > MAX_DEPTH:
            raise ModelNotFoundError(f"{path}: nested over {MAX_DEPTH} levels deep. Save it again.")
    return content


def check_settings(folder: Path, names: Iterable[str]) -> None:
    """Make sure that no setting names code, files or repositories, or a size that cannot be meant.

    Args:
        folder (`Path`):
            The folder, which went through [`check_files`].
        names (`Iterable[str]`):
            Of its tensors: the highest number in one is that of its layer, expert or stage.

    Raises:
        ModelNotFoundError: A setting does; the message names file and setting.
    """
    names = list(names)
    highest = max((int(n) for name in names for n in re.findall(r"\d{1,9}", name)), default=0)
    most = max(MAX_REPEATS, min(highest + 1, len(names)))
    for path in (folder / place / name for place in READ_FROM for name in SETTINGS):
        content = read_json(path) if path.exists() else {}
        if path.name in ("config.json", "processor_config.json"):
            for _, key, value in _entries(content):
                complaint = _names_code(key, value) or _is_senseless(key, value, most)
                _refuse(path, key, value, complaint)
    for path in (folder / place / "tokenizer.json" for place in READ_FROM):
        if path.exists():
            _check_growth(path)
    if (folder / "adapter_config.json").exists():
        raise ModelNotFoundError(
            f"{folder / 'adapter_config.json'}: an adapter for a model elsewhere. Merge it into "
            "that model and save the result."
        )


def check_code(path: Path) -> None:
    """Make sure that a configuration names no code and no weights that are fetched from elsewhere.

    Args:
        path (`Path`):
            A `config.json`, of whichever model.

    Raises:
        ModelNotFoundError: It does, or is no JSON object.
    """
    for _, key, value in _entries(read_json(path)):
        _refuse(path, key, value, _names_code(key, value))


def check_processor(processor: EmoLlamaProcessor, config: EmoLlamaConfig) -> None:
    """Make sure that a processor fits its model and asks for nothing that takes a machine down.

    Args:
        processor ([`EmoLlamaProcessor`]):
            The processor.
        config ([`EmoLlamaConfig`]):
            The model's configuration.

    Raises:
        ValueError: It does not.
    """
    for name in ("num_tokens_per_frame", "image_token_id", "video_token_id"):
        if getattr(processor, name) != getattr(config, name):
            raise ValueError(
                f"expected a processor with {name} {getattr(config, name)}, as the model's "
                f"configuration gives it, got {getattr(processor, name)!r}."
            )
    for name, part in (("tokenizer", "text_config"), ("qformer_tokenizer", "qformer_config")):
        last, size = max(getattr(processor, name).get_vocab().values()), getattr(config, part)
        if last >= size.vocab_size:
            raise ValueError(
                f"the {name} has tokens up to {last}, the model's embedding ends at "
                f"{size.vocab_size - 1}. One of the two belongs to another model."
            )
    check_template(processor.chat_template)
    images = processor.image_processor
    for name in ("size", "face_size"):
        sides = [getattr(images, name)[side] for side in ("height", "width")]
        if not all(isinstance(side, int) and 0 < side <= MAX_SIDE for side in sides):
            raise ValueError(
                f"processor_config.json: expected {name} between 1 and {MAX_SIDE} pixels, got "
                f"{sides}."
            )
    if not 0 < processor.video_fps <= MAX_FRAMES or not 1 <= processor.max_frames <= MAX_FRAMES:
        raise ValueError(
            f"processor_config.json: expected video_fps and max_frames up to {MAX_FRAMES}, got "
            f"{processor.video_fps!r} and {processor.max_frames!r}."
        )


def check_template(template: str | None) -> None:
    """Make sure that a chat template is one that this project writes, whatever texts stand in it.

    A template is a program: nested loops and texts that double hold a machine up for ever, and
    Jinja's sandbox stops neither.

    Args:
        template (`str`, *optional*):
            The template; `None` stands for the usual one.

    Raises:
        ValueError: It is another one.
    """
    if template is None:
        return
    any_turns = Turns(*[""] * len(fields(Turns)))
    allowed = [_skeleton(chat_template()), _skeleton(any_turns.template())]
    if not isinstance(template, str) or _skeleton(template) not in allowed:
        raise ValueError(
            "expected a chat template as this project writes it, found another one. A template is "
            "a program, and one from elsewhere is not run. Remove chat_template.jinja from the "
            "folder to use the usual one."
        )


def check_inside(folder: Path, path: Path) -> None:
    """Make sure that a file is a regular one, and that a link to one does not leave its folder.

    The Hub's cache keeps the files of a repository in `blobs`, to which its snapshots link.

    Args:
        folder (`Path`):
            The model's folder.
        path (`Path`):
            A file of it.

    Raises:
        ModelNotFoundError: It is something else, or elsewhere.
    """
    real, home = path.resolve(), folder.resolve()
    homes = [home]
    if home.parent.name == "snapshots" and home.parent.parent.name.startswith("models--"):
        homes.append(home.parent.parent / "blobs")
    if not any(real.is_relative_to(allowed) for allowed in homes):
        raise ModelNotFoundError(
            f"{path}: a link that leads out of the folder. Put the file itself there."
        )
    if not real.exists() or not stat.S_ISREG(real.stat().st_mode):
        raise ModelNotFoundError(f"{path}: expected a file, found something else.")


def _names_code(key: str, value: Any) -> str:
    """What is wrong with an entry that has something fetched, and perhaps run."""
    if key.endswith(("attn_implementation", "experts_implementation")):
        named = value.values() if isinstance(value, dict) else [value]
        if any(name not in ATTENTION for name in named):
            return f"expected one out of {', '.join(ATTENTION[1:])}; others are code from the Hub"
    if key in ("use_pretrained_backbone", "transformers_weights") and value:
        return "the weights of a model lie in its folder under their usual names"
    return ""


def _is_senseless(key: str, value: Any, repeats: int) -> str:
    """What is wrong with an entry that a machine would work on for ever."""
    if key == "quantization_config" and value:
        return "expected weights in full precision; quantize the model when it is loaded"
    if _REPEATED.search(key):
        counts = value if isinstance(value, list) else [value]
        if any(isinstance(count, (int, float)) and count > repeats for count in counts):
            return f"expected {repeats} at most"
    elif isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) < 2**40):
        return "expected a finite number of sensible size"
    return ""


def _refuse(path: Path, key: str, value: Any, complaint: str) -> None:
    if complaint:
        shown = repr(value)
        raise ModelNotFoundError(
            f"{path}: {key} is {shown if len(shown) < 80 else shown[:80] + '...'}: {complaint}."
        )


def _check_growth(path: Path) -> None:
    """A tokenizer may replace characters, but not so that a sentence fills the memory."""
    growth = 1.0
    for _, _, value in _entries(read_json(path)):
        if isinstance(value, dict) and value.get("type") == "Replace":
            pattern = value.get("pattern")
            replaced = pattern.get("String") if isinstance(pattern, dict) else None
            growth *= max(1, len(str(value.get("content"))) / max(1, len(str(replaced or ""))))
    if growth > MAX_GROWTH:
        raise ModelNotFoundError(
            f"{path}: its replacements make a text up to {growth:.0g} times as long. Use the "
            "tokenizer of the language model."
        )


def _entries(content: Any) -> Iterator[tuple[int, str, Any]]:
    """Depth, key and value of everything in nested dictionaries and lists, without recursion."""
    waiting = [(1, "", content)]
    while waiting:
        depth, key, value = waiting.pop()
        yield depth, key, value
        if isinstance(value, dict):
            waiting += [(depth + 1, str(name), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(depth + 1, key, inner) for inner in value]


@cache
def _skeleton(template: str) -> tuple[tuple[str, str], ...]:
    """The tokens of a template, its string literals left out."""
    try:
        tokens = Environment().lex(template)
        return tuple(
            (kind, "" if kind == "string" else value)
            for _, kind, value in tokens
            if kind not in ("whitespace", "comment", "comment_begin", "comment_end")
        )
    except TemplateSyntaxError:
        return ()
