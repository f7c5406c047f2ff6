"""What the tests of training share: a recipe that tunes the tiny model on the drawn FERPlus."""

import shutil

import pytest
import yaml

from emo_llama.testing import tiny_model, tiny_processor

SETTINGS = {
    "max_steps": 4,
    "per_device_train_batch_size": 4,
    "learning_rate": 1.0e-3,
    "assistant_only_loss": True,
    "max_length": None,
    "bf16": False,
    "gradient_checkpointing": False,
    "save_steps": 2,
    "logging_steps": 1,
    "report_to": "none",
    "use_cpu": True,
}


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """The tiny model and its processor, written once; read only."""
    folder = tmp_path_factory.mktemp("tiny") / "start"
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(tmp_path, tiny_folder, ferplus_build):
    """Writes a recipe that tunes a copy of the tiny model in `work`; gives its file."""
    start = shutil.copytree(tiny_folder, tmp_path / "start")

    def write(**settings):
        places = {"model_name_or_path": str(start), "data": str(ferplus_build[0])}
        places["output_dir"] = str(tmp_path / "work")
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(places | SETTINGS | settings))
        return str(path)

    return write
