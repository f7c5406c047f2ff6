"""Some hundred model folders that nobody should trust, each made from a sound one by one change.

Run as a script it writes them under a folder, loads each one with the package as a user would, and
prints what became of it as JSON, one line a folder:
`python tests/model_corpus.py FOLDER`. Any code of a folder that runs leaves a file `ran` in FOLDER.
"""

import json
import os
import pickle
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

MARKER = "ran"
LIMIT = 30  # seconds for one folder
MEMORY = 6 * 2**30  # bytes that loading and predicting may map on top of what is loaded already
Change = Callable[[Path], Any]


def edit(name: str, key: str, value: Any, folder: Path) -> None:
    """Set one entry of a JSON file; dots in the key lead into nested objects."""
    path = folder / name
    content = json.loads(path.read_text()) if path.exists() else {}
    inner = content
    *outer, last = key.split(".")
    for part in outer:
        inner = inner.setdefault(part, {})
    inner[last] = value
    path.write_text(json.dumps(content))


def write(name: str, text: str | bytes, folder: Path) -> None:
    """Write a file anew."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def both(*changes: Change) -> Change:
    """Several changes as one."""
    return lambda folder: [change(folder) for change in changes]


def code(name: str, classes: tuple[str, ...]) -> Change:
    """A Python file that leaves its mark when it is imported, and again when it is used."""

    def change(folder: Path) -> None:
        marker = str(folder.parent / MARKER)
        text = f"open({marker!r}, 'w').close()\n"
        for cls in classes:
            text += f"class {cls}:\n    def __init__(self, *a, **k): open({marker!r}, 'w')\n"
            text += (
                f"    @classmethod\n    def from_pretrained(cls, *a, **k): open({marker!r}, 'w')\n"
            )
        write(name, text, folder)

    return change


def tensors(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Change the weights."""

    def apply(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = folder / "model.safetensors"
        weights = load_file(path)
        weights = change(weights) or weights
        path.unlink()
        save_file(weights, path, metadata={"format": "pt"})

    return apply


def index(place: str) -> Change:
    """The weights are where an index says."""

    def change(folder: Path) -> None:
        weights = folder / "model.safetensors"
        (folder.parent / "outside.safetensors").write_bytes(weights.read_bytes())
        target = place.replace("OUTSIDE", str(folder.parent))
        write("model.safetensors.index.json", json.dumps({"weight_map": {"a": target}}), folder)
        weights.rename(folder / "other.safetensors")

    return change


def link(name: str, target: str) -> Change:
    """A file is a link."""

    def change(folder: Path) -> None:
        outside = folder.parent / f"outside-{Path(name).name}"
        path = folder / name
        if path.is_dir():
            path.rename(outside)
        else:
            outside.write_bytes(path.read_bytes())
            path.unlink()
        path.symlink_to(target or outside)

    return change


def pipe(name: str) -> Change:
    """A file is a pipe that nobody writes to."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def pickled(folder: Path) -> None:
    """Weights that run code when they are unpickled, in place of safetensors."""

    class Payload:
        def __reduce__(self) -> tuple:
            return open, (str(folder.parent / MARKER), "w")

    write("pytorch_model.bin", pickle.dumps({"a": Payload()}), folder)
    (folder / "model.safetensors").unlink()


def in_the_cache(folder: Path) -> None:
    """As the Hub's cache keeps a repository: files in `blobs`, and links to them."""
    home = folder.parent / f"models--team--{folder.name}"
    snapshot = home / "snapshots" / ("0" * 40)
    blobs = home / "blobs"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        place = snapshot / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(blobs / str(number))
        place.symlink_to(os.path.relpath(blobs / str(number), place.parent))
    shutil.rmtree(folder)
    folder.symlink_to(snapshot)


def first(weights: dict[str, Any], value: float) -> None:
    """Spoil one number of one tensor."""
    next(tensor for tensor in weights.values() if tensor.is_floating_point()).view(-1)[0] = value


def template(text: str) -> Change:
    """Another chat template."""
    return partial(write, "chat_template.jinja", text)


config = partial(partial, edit, "config.json")
processor = partial(partial, edit, "processor_config.json")
tokenizer = partial(partial, edit, "tokenizer_config.json")
generation = partial(partial, edit, "generation_config.json")
raw = partial(partial, write)
DOUBLING = {"type": "Replace", "pattern": {"String": "e"}, "content": "ee"}
SLOW = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}

# What is refused when it is loaded.
REFUSED: dict[str, Change] = {
    "tokenizer with code": both(
        tokenizer("auto_map", {"AutoTokenizer": ["evil.T", "evil.T"]}),
        tokenizer("tokenizer_class", "T"),
        code("evil.py", ("T",)),
    ),
    "question tokenizer with code": both(
        partial(
            edit,
            "qformer_tokenizer/tokenizer_config.json",
            "auto_map",
            {"AutoTokenizer": ["evil.T", "evil.T"]},
        ),
        partial(edit, "qformer_tokenizer/tokenizer_config.json", "tokenizer_class", "T"),
        code("qformer_tokenizer/evil.py", ("T",)),
        code("evil.py", ("T",)),
    ),
    "image processor with code": both(
        processor("image_processor.auto_map", {"AutoImageProcessor": "evil.I"}),
        processor("image_processor.image_processor_type", "I"),
        code("evil.py", ("I",)),
    ),
    "attention from a repository": config("attn_implementation", "team/kernel"),
    "attention as it is kept": config("_attn_implementation", "team/kernel:run"),
    "attention of one part": config("attn_implementation", {"text_config": "team/kernel"}),
    "attention in a part": config("text_config.attn_implementation", "kernels-team/flash"),
    "flash attention, a kernel": config("text_config._attn_implementation", "flash_attention_2"),
    "experts from a repository": config("text_config.experts_implementation", "team/kernel"),
    "pickled weights": pickled,
    "an adapter": partial(edit, "adapter_config.json", "base_model_name_or_path", "team/base"),
    "a pretrained backbone": config("face_config.backbone_config.use_pretrained_backbone", True),
    "quantized": config("quantization_config", {"quant_method": "bitsandbytes"}),
    "quantized with kernels": config("quantization_config", {"quant_method": "mxfp4"}),
    "weights by another name": config("transformers_weights", "other.bin"),
    "index upward": index("../outside.safetensors"),
    "index upward from a folder": index("qformer_tokenizer/../../outside.safetensors"),
    "index absolute": index("OUTSIDE/outside.safetensors"),
    "index to pickles": index("pytorch_model.bin"),
    "index to a device": index("/dev/zero"),
    "index to a device by a name": both(
        index("zero.safetensors"),
        lambda folder: (folder / "zero.safetensors").symlink_to("/dev/zero"),
    ),
    "index hidden": index(".safetensors"),
    "index to nothing": index("gone.safetensors"),
    "index of lists": both(
        index("x"), raw("model.safetensors.index.json", '{"weight_map": ["a", "b"]}')
    ),
    "index a list": both(index("x"), raw("model.safetensors.index.json", "[1]")),
    "index empty": both(index("x"), raw("model.safetensors.index.json", "")),
    "weights a link outward": link("model.safetensors", ""),
    "weights a device": link("model.safetensors", "/dev/zero"),
    "weights a pipe": pipe("model.safetensors"),
    "weights empty": raw("model.safetensors", b""),
    "weights of a huge header": raw("model.safetensors", b"\xff" * 7 + b"\x00" + b"{}"),
    "weights cut off": lambda folder: os.truncate(folder / "model.safetensors", 9_000),
    "weights NaN": tensors(partial(first, value=float("nan"))),
    "weights infinite": tensors(partial(first, value=float("inf"))),
    "weights of integers": tensors(lambda w: {k: v.int() for k, v in w.items()}),
    "weights left out": tensors(lambda w: {k: v for k, v in w.items() if "language" not in k}),
    "weights turned": tensors(lambda w: {k: v.T.contiguous() for k, v in w.items()}),
    "config a list": raw("config.json", "[1, 2]"),
    "config a word": raw("config.json", '"emo_llama"'),
    "config deep": raw("config.json", '{"a": ' * 10_000 + "1" + "}" * 10_000),
    "config deep in lists": raw("config.json", '{"a": ' + "[" * 900 + "]" * 900 + "}"),
    "config no JSON": raw("config.json", "{model_type: emo_llama}"),
    "config no text": raw("config.json", b"\xff\xfe\x00\x01"),
    "config empty": raw("config.json", ""),
    "config of 8 MB": raw("config.json", '{"a": "' + "x" * 8_000_000 + '"}'),
    "config a link outward": link("config.json", ""),
    "config a pipe": pipe("config.json"),
    "config of another model": config("model_type", "llama"),
    "config of no model": config("model_type", {"emo_llama": 1}),
    "temperature zero": config("label_temperature", 0.0),
    "temperature negative": config("label_temperature", -1.0),
    "temperature NaN": config("label_temperature", float("nan")),
    "temperature infinite": config("label_temperature", float("inf")),
    "bias NaN": config("label_bias", [float("nan")] * 8),
    "bias infinite": config("label_bias", [float("inf")] + [0.0] * 7),
    "bias short": config("label_bias", [0.0]),
    "operating point NaN": config("operating_points", {"balanced": [float("nan")] * 8}),
    "operating point short": config("operating_points", {"balanced": [0.0]}),
    "operating point a word": config("operating_points", {"balanced": "high"}),
    "3,000 labels": config("id2label", {str(n): f"label {n}" for n in range(3_000)}),
    "a billion labels": both(config("num_labels", 10**9), config("id2label", None)),
    "no labels": config("id2label", {}),
    "labels twice": config("id2label", {"0": "joy", "1": "joy"}),
    "labels of controls": config("id2label", {"0": "joy\x1b[2J", "1": "fear"}),
    "a label of a megabyte": config("id2label", {"0": "joy" * 10**5, "1": "fear"}),
    "labels of lists": config("id2label", {"0": ["joy"], "1": "fear"}),
    "huge vocabulary": config("text_config.vocab_size", 10**9),
    "endless vocabulary": config("text_config.vocab_size", 10**18),
    "a billion layers": config("text_config.num_hidden_layers", 10**9),
    "ten million stages": config("face_config.backbone_config.depths", [10**7, 1, 1, 1]),
    "wrong width": config("text_config.hidden_size", 32),
    "width in words": config("text_config.hidden_size", "sixteen"),
    "huge width": config("vision_config.hidden_size", 2**31),
    "many queries": config("num_query_tokens", 10**9),
    "long questions": config("qformer_config.max_position_embeddings", 2**33),
    "large pool": config("fim_config.pool_size", 10**6),
    "many patches": config("compress", "grid:100000"),
    "many face tokens": config("fim_config.face_tokens_per_frame", 10**8),
    "no number type": config("dtype", "float99"),
    "placeholder elsewhere": config("image_token_id", 10**6),
    "no such activation": config("text_config.hidden_act", "__import__"),
    "no such tower": config("vision_config.model_type", "evil"),
    "processor a list": raw("processor_config.json", "[]"),
    "processor empty": raw("processor_config.json", ""),
    "tokens 1e8": processor("num_tokens_per_frame", 1e8),
    "tokens a hundred million": processor("num_tokens_per_frame", 10**8),
    "large pictures": processor("image_processor.size", {"height": 10**6, "width": 10**6}),
    "large faces": processor("image_processor.face_size", {"height": 10**5, "width": 10**5}),
    "pictures of no size": processor("image_processor.size", {"height": 0, "width": 0}),
    "no frames a second": processor("video_fps", 0.0),
    "endless frames": processor("max_frames", 10**9),
    "no such placeholder": processor("image_token", "<picture>"),
    "template that loops": template("{% for i in range(10**9) %}x{% endfor %}"),
    "template that loops in loops": template(
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    ),
    "template that doubles": template(
        "{% set n = namespace(t='x') %}{% for c in messages[0].content[1].text %}"
        "{% set n.t = n.t ~ n.t %}{% endfor %}{{ n.t }}"
    ),
    "template that calls itself": template(
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(99) }}"
    ),
    "template that looks around": template("{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    "template broken": template("{% for"),
    "templates by name": raw("additional_chat_templates/tool.jinja", "{{ messages }}"),
    "tokenizer garbage": raw("tokenizer.json", "{]"),
    "tokenizer a list": raw("tokenizer.json", "[]"),
    "tokenizer empty": raw("tokenizer.json", "{}"),
    "tokenizer of a pipe": pipe("tokenizer.json"),
    "tokenizer left out": lambda folder: (folder / "tokenizer.json").unlink(),
    "question tokenizer elsewhere": link("qformer_tokenizer", ""),
    "tokenizer that doubles": partial(
        edit, "tokenizer.json", "normalizer", {"type": "Sequence", "normalizers": [DOUBLING] * 40}
    ),
    "tokens beyond the embedding": partial(edit, "tokenizer.json", "model.vocab.zz", 10**6),
    "tokenizer settings a list": raw("tokenizer_config.json", "[]"),
    "end of nothing": generation("eos_token_id", 10**9),
    "end in words": generation("eos_token_id", "stop"),
    "generation a list": raw("generation_config.json", "[]"),
    "nothing at all": lambda folder: [shutil.rmtree(folder), folder.mkdir()],
}

# What loads and answers as the sound folder does: the change is of no matter, or is passed over.
SOUND: dict[str, Change] = {
    "unchanged": lambda folder: None,
    "code that nobody names": both(
        code("modeling_emo_llama.py", ()), code("sitecustomize.py", ()), code("generate.py", ())
    ),
    "code of the model": both(
        config("auto_map", {"AutoConfig": "evil.C", "AutoModel": "evil.M"}),
        config("text_config.auto_map", {"AutoModel": "evil.M"}),
        code("evil.py", ("C", "M")),
    ),
    "code of the processor": both(
        processor("auto_map", {"AutoProcessor": "evil.P"}),
        processor("image_processor.auto_map", {"AutoImageProcessor": "evil.P"}),
        code("evil.py", ("P",)),
    ),
    "code in a repository": config("auto_map", {"AutoModel": "team/evil--evil.M"}),
    "code of generation": code("custom_generate/generate.py", ()),
    "the name of a repository": config("_name_or_path", "team/elsewhere"),
    "a tokenizer's file elsewhere": tokenizer("tokenizer_file", "/etc/passwd"),
    "beams": generation("num_beams", 4),
    "a dictionary": generation("return_dict_in_generate", True),
    "long answers": generation("min_new_tokens", 10**9),
    "dice": both(generation("do_sample", True), generation("temperature", 9.0)),
    "no generation settings": lambda folder: (folder / "generation_config.json").unlink(),
    "no template": lambda folder: (folder / "chat_template.jinja").unlink(),
    "pickles beside": lambda folder: raw("pytorch_model.bin", b"\x80")(folder),
    "more weights": tensors(lambda w: w | {"more": w["lm_head.weight"].clone()}),
    "in the cache of the Hub": in_the_cache,
    "a slow pattern": partial(edit, "tokenizer.json", "pre_tokenizer.more", SLOW),
}


def make(root: Path) -> dict[str, Path]:
    """Write the folders.

    Args:
        root (`Path`): An existing folder.

    Returns:
        `dict[str, Path]`: By name.
    """
    from emo_llama.testing import tiny_model, tiny_processor

    sound = root / "sound"
    tiny_model().save_pretrained(sound)
    tiny_processor().save_pretrained(sound)
    folders = {}
    for number, (name, change) in enumerate({**SOUND, **REFUSED}.items()):
        folders[name] = root / f"{number:03}"
        shutil.copytree(sound, folders[name])
        change(folders[name])
    return folders


def attempt(folder: Path) -> dict[str, Any]:
    """Load a folder and look at a picture with it, as `emo-llama predict` does."""
    import numpy as np

    from emo_llama import EmotionRecognizer
    from emo_llama.errors import EmoLlamaError

    try:
        recognizer = EmotionRecognizer.from_pretrained(
            folder, detector="none", device="cpu", max_new_tokens=4
        )
    except EmoLlamaError as error:
        return {"refused": str(error)}
    result = recognizer(np.full((48, 48, 3), 90, dtype=np.uint8))
    if result.error is not None:
        return {"record": result.error}
    face = result.faces[0]
    return {"label": face.label, "confidence": face.confidence, "text": face.text}


def main() -> None:
    """Make the folders, load each, print what became of it."""
    root = Path(sys.argv[1])
    folders = make(root)
    attempt(folders["unchanged"])  # so that imports count for no folder
    opened: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str) and "outside" in arguments[0]:
            opened.append(arguments[0])

    sys.addaudithook(watch)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    for name, folder in folders.items():
        opened.clear()
        start = time.perf_counter()
        signal.alarm(LIMIT)  # ends this process
        try:
            outcome = attempt(folder)
        except BaseException as error:  # noqa: BLE001 - this is what the test looks for
            outcome = {"raised": f"{type(error).__name__}: {error}"[:300]}
        signal.alarm(0)
        seconds = round(time.perf_counter() - start, 2)
        line = {"name": name, "seconds": seconds, "opened": opened, **outcome}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
