"""The exported folder works by itself: in a clean process, without this package, and exactly.

One process for all of it, as importing torch and transformers takes most of the time. It runs in
another folder, with an import hook that hides `emo_llama`, offline, and loads the folder by its
path and, from a cache laid out as the Hub's client does it, by a repository's name.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor

from emo_llama.hub.export import export, travelling_files
from emo_llama.testing import tiny_model, tiny_processor

pytestmark = pytest.mark.slow
REPO = "someone/emo-llama-test"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

# What a program begins with that must do without the installed package.
HIDDEN = '''
import sys


class Hidden:
    """Makes the installed package invisible."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("emo_llama", "modeling"):
            raise ModuleNotFoundError(f"{name} is hidden")


sys.meta_path.insert(0, Hidden())
try:
    import emo_llama
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("emo_llama is importable")

'''
CLIENT = """
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
    pipeline,
)

torch.set_num_threads(1)
picture, folder, repo, results = sys.argv[1:]
tensors = {}
for key, target in (("folder", folder), ("repo", repo)):
    remote = {"trust_remote_code": True}
    config = AutoConfig.from_pretrained(target, **remote)
    processor = AutoProcessor.from_pretrained(target, **remote)
    images = AutoImageProcessor.from_pretrained(target, **remote)
    assert images.to_dict() == processor.image_processor.to_dict()
    assert processor.qformer_tokenizer.truncation_side == "left"
    assert processor.qformer_tokenizer.cls_token == "[CLS]"
    question = {"type": "text", "text": "What do the eyes show?"}
    messages = [{"role": "user", "content": [{"type": "image", "image": picture}, question]}]
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    classes = {
        "model": AutoModel,
        "chat": AutoModelForImageTextToText,
        "causal": AutoModelForCausalLM,
        "multimodal": AutoModelForMultimodalLM,
    }
    for name, auto in classes.items():
        model = auto.from_pretrained(target, **remote)
        assert type(model).__name__ == "EmoLlamaForConditionalGeneration"
        assert type(model).__module__.startswith("transformers_modules.")
        with torch.no_grad():
            tensors[f"{key}.{name}.logits"] = model(**inputs).logits
        ids = model.generate(**inputs, max_new_tokens=6, do_sample=False)
        tensors[f"{key}.{name}.answer"] = ids
        assert isinstance(processor.batch_decode(ids)[0], str)
    chat = pipeline("image-text-to-text", model=target, **remote)
    options = {"max_new_tokens": 6, "do_sample": False}
    answer = chat(text=messages, generate_kwargs=options, return_full_text=False)
    new = ids[:, inputs["input_ids"].shape[1] :]
    expected = processor.batch_decode(new, skip_special_tokens=True)[0]
    assert answer[0]["generated_text"] == expected, (answer, expected)
    # Unequal lengths in one batch: each row is answered as by itself.
    short = [{"role": "user", "content": [{"type": "image", "image": picture}]}]
    padded = processor.apply_chat_template(
        [short, messages],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )
    assert not padded["attention_mask"].all()
    row = model.generate(**padded, **options)[1]
    assert row.tolist() == ids[0].tolist()
    with torch.no_grad():
        last = model(**padded).logits[1, -1]
    torch.testing.assert_close(last, tensors[f"{key}.model.logits"][0, -1], atol=1e-5, rtol=1e-4)
    assert config.label_temperature == 1.0 and len(config.id2label) == 8
assert not any(name.partition(".")[0] == "emo_llama" for name in sys.modules)
save_file(tensors, results)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    tiny_model().save_pretrained(root / "saved")
    tiny_processor().save_pretrained(root / "saved")
    return export(root / "saved", root / "hub")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "face.png"
    values = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


@pytest.fixture(scope="module")
def results(exported, picture, tmp_path_factory):
    """What the clean process gave: logits and answers by folder and by repository."""
    root = tmp_path_factory.mktemp("clean")
    cache = root / "home" / "hub" / f"models--{REPO.replace('/', '--')}"
    shutil.copytree(exported, cache / "snapshots" / COMMIT)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    client = root / "client.py"
    client.write_text(HIDDEN + CLIENT)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(root / "home")}
    for name in ("HF_HUB_CACHE", "HF_MODULES_CACHE", "TRANSFORMERS_CACHE"):
        environment.pop(name, None)
    arguments = [str(picture), str(exported), REPO, str(root / "results.safetensors")]
    done = subprocess.run(
        [sys.executable, "-I", str(client), *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Could not load tokenizer" not in done.stderr
    return load_file(root / "results.safetensors")


@pytest.fixture(scope="module")
def expected(exported, picture):
    """The same from the installed package."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    processor = AutoProcessor.from_pretrained(exported)
    model = AutoModelForImageTextToText.from_pretrained(exported)
    question = {"type": "text", "text": "What do the eyes show?"}
    messages = [{"role": "user", "content": [{"type": "image", "image": str(picture)}, question]}]
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits = model(**inputs).logits
        answer = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    torch.set_num_threads(threads)
    return {"logits": logits, "answer": answer}


@pytest.mark.parametrize("target", ["folder", "repo"])
@pytest.mark.parametrize("auto", ["model", "chat", "causal", "multimodal"])
def test_a_process_without_the_package_gives_the_same_bits(results, expected, target, auto):
    for name, value in expected.items():
        assert torch.equal(results[f"{target}.{auto}.{name}"], value), name


def test_the_saved_code_is_the_source(exported):
    saved = sorted(path.name for path in exported.glob("*.py"))
    assert saved == [path.name for path in travelling_files()]
    for path in travelling_files():
        assert (exported / path.name).read_bytes() == path.read_bytes(), path.name


def test_installed_code_comes_before_the_folders(exported):
    assert type(AutoModel.from_pretrained(exported)).__module__.startswith("emo_llama.modeling")


def test_a_second_export_is_the_same(exported, tmp_path):
    again = export(exported, tmp_path / "hub")
    names = sorted(str(path.relative_to(exported)) for path in exported.rglob("*"))
    assert names == sorted(str(path.relative_to(again)) for path in again.rglob("*"))
    for name in names:
        if (exported / name).is_file():
            assert (exported / name).read_bytes() == (again / name).read_bytes(), name


def test_no_path_of_this_machine_is_written(exported):
    root = str(Path(exported).parent)
    for path in exported.rglob("*"):
        if path.suffix in (".json", ".md", ".jinja", ".py"):
            assert root not in path.read_text(encoding="utf-8"), path.name
