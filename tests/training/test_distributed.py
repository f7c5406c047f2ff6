"""Two processes learn what one process learns from the same batches; only the first one speaks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from safetensors.torch import load_file

from emo_llama.cli import main
from emo_llama.errors import InputNotFoundError, UsageError
from emo_llama.loading import load_model
from emo_llama.testing import tiny_config, tiny_model, tiny_processor
from emo_llama.training.processes import make_shardable, on_main

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "recipes" / "accelerate"
STEPS = 20
BATCH = 4
SETTINGS = {
    "max_steps": STEPS,
    "learning_rate": 1.0e-3,
    "conversation_share": 0.905,  # 40 rows: ten full batches an epoch
    "assistant_only_loss": True,
    "max_length": None,
    "bf16": False,
    "gradient_checkpointing": False,
    "logging_steps": 1,
    "save_steps": STEPS,
    "report_to": "none",
}
CLI = ["-m", "emo_llama.cli"]
KINDS = ("multi_gpu", "use_fsdp", "use_deepspeed", "use_megatron_lm", "tpu")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, ferplus_build):
    """A recipe for a tiny model without dropout, and data without a validation split."""
    folder = tmp_path_factory.mktemp("distributed")
    config = tiny_config()
    config.qformer_config.hidden_dropout_prob = 0.0
    config.qformer_config.attention_probs_dropout_prob = 0.0
    tiny_model(config).save_pretrained(folder / "start")
    tiny_processor(config).save_pretrained(folder / "start")
    path = folder / "recipe.yaml"
    start, data = str(folder / "start"), str(ferplus_build[0])
    path.write_text(yaml.safe_dump({"model_name_or_path": start, "data": data, **SETTINGS}))
    return path


def run(recipe, name, launcher, *words):
    """The real command line in processes of its own; its work folder and what it printed."""
    out = recipe.parent / name
    command = [sys.executable, *launcher, "train", "--config", str(recipe), *words]
    done = subprocess.run(
        [*command, "--output_dir", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    return out, done


def launch(config, *words):
    return ["-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / config), *words]


def losses(work_dir):
    (state,) = (work_dir / "tuning").glob(f"checkpoint-{STEPS}/trainer_state.json")
    history = json.loads(state.read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


@pytest.fixture(scope="module")
def alone(recipe):
    """What one process learns."""
    out = recipe.parent / "alone"
    words = ["--per_device_train_batch_size", str(BATCH), "--use_cpu", "true"]
    assert main(["train", "--config", str(recipe), *words, "--output_dir", str(out)]) == 0
    return out


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("launcher", "use_cpu"),
    [
        ([*launch("multi_cpu.yaml"), *CLI], "true"),
        (launch("fsdp2.yaml", str(Path(__file__).with_name("fsdp_on_cpu.py"))), "false"),
    ],
    ids=["ddp", "fsdp2"],
)
def test_two_processes_learn_what_one_learns(recipe, alone, launcher, use_cpu, request):
    size = ["--per_device_train_batch_size", str(BATCH // 2), "--use_cpu", use_cpu]
    out, done = run(recipe, request.node.callspec.id, launcher, *size)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished model") == 1
    assert len(losses(out)) == STEPS
    assert losses(out) == pytest.approx(losses(alone), abs=1e-4)
    weights, expected = (load_file(x / "model" / "model.safetensors") for x in (out, alone))
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        # Adam divides by the gradient's own size: where that is noise, a step is noise too.
        assert (weights[name] - value).abs().max() < 2e-3, name
    load_model(out / "model")
    if use_cpu == "true":  # what one process refuses, all end with; however the model is shared
        _, done = run(recipe, out.name, launcher, *size)
        assert done.returncode != 0
        assert done.stderr.count("holds an earlier run") == 1


def test_one_process_waits_for_none():
    assert on_main(lambda: "done") == "done"
    with pytest.raises(InputNotFoundError, match="no such"):
        on_main(lambda: (_ for _ in ()).throw(InputNotFoundError("no such folder")))


def test_only_layers_that_exist_are_sharded_and_none_within_another():
    model = tiny_model()
    make_shardable(model)
    kinds = model._no_split_modules
    assert {"LlamaDecoderLayer", "InstructBlipEncoderLayer", "FaceInfoMining"} <= kinds
    assert "InstructBlipAttention" not in kinds  # within InstructBlipEncoderLayer
    assert kinds <= {type(module).__name__ for module in model.modules()}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ddp", "multi_gpu"),
        ("multi_cpu", "multi_gpu"),
        ("fsdp2", "use_fsdp"),
        ("deepspeed_zero3", "use_deepspeed"),
    ],
)
def test_accelerate_reads_the_configuration(name, kind):
    """As `accelerate launch` does it; nothing is started."""
    parser = launch_command_parser()
    path = str(CONFIGS / f"{name}.yaml")
    config = load_config_from_file(path)
    args, *_ = _validate_launch_command(parser.parse_args(["--config_file", path, "script.py"]))
    assert {sort for sort in KINDS if getattr(args, sort)} == {kind}
    assert args.num_processes == 2
    options = {action.dest for action in parser._actions}
    settings = config.fsdp_config | config.deepspeed_config
    assert settings.keys() <= options
    assert all(getattr(args, key) == value for key, value in settings.items())


def test_every_configuration_is_tried():
    names = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert names == {"ddp", "multi_cpu", "fsdp2", "deepspeed_zero3"}


@pytest.mark.parametrize("first", ["0", "1"])
def test_only_the_first_process_speaks(first, capsys, monkeypatch):
    from emo_llama.cli import _output

    monkeypatch.setenv("RANK", first)
    _output.data("result")
    _output.message("message")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (("result\n", "message\n") if first == "0" else ("", ""))


def test_a_recipe_with_scratch_wants_one_process(tmp_path, monkeypatch):
    from trl import SFTConfig

    from emo_llama.training.recipe import parse_recipe
    from emo_llama.training.tune import train

    words = ["--config", "tiny", "--data", "x", "--output_dir", str(tmp_path / "work")]
    settings = parse_recipe([*words, "--use_cpu", "true"])
    monkeypatch.setattr(SFTConfig, "world_size", 2)
    with pytest.raises(UsageError, match="runs in one process, not in 2"):
        train(*settings)
