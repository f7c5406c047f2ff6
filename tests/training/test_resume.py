import errno

import pytest
import torch
from safetensors import SafetensorError
from trl import SFTConfig

from emo_llama.errors import UsageError
from emo_llama.training.resume import explained, last_whole_checkpoint


def checkpoint(folder, step, state):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    return path


def test_half_checkpoints_are_passed_over(tmp_path):
    assert last_whole_checkpoint(tmp_path / "none") is None
    whole = checkpoint(tmp_path, 900, "{}")
    halves = [checkpoint(tmp_path, 1000, None), checkpoint(tmp_path, 1100, '{"epoch": 1')]
    assert last_whole_checkpoint(tmp_path) == str(whole)
    assert not any(path.exists() for path in halves)
    (whole / "trainer_state.json").unlink()
    assert last_whole_checkpoint(tmp_path) is None


def test_files_of_a_callback_belong_to_a_checkpoint(tmp_path):
    older, newer = checkpoint(tmp_path, 1, "{}"), checkpoint(tmp_path, 2, "{}")
    (older / "average.safetensors").write_bytes(b"")
    assert last_whole_checkpoint(tmp_path, ["average.safetensors"]) == str(older)
    assert not newer.exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA"), "--per_device_train_batch_size 8 .* 2, which"),
        (MemoryError(), "batches of 16"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (SafetensorError("Io error: No space left on device (os error 28)"), "disk is full"),
    ],
)
def test_what_gives_out_is_explained(error, message, tmp_path):
    settings = SFTConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=16, bf16=False, use_cpu=True
    )
    with pytest.raises(UsageError, match=message), explained(settings):
        raise error


def test_other_errors_pass(tmp_path):
    settings = SFTConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True)
    with pytest.raises(FileNotFoundError), explained(settings):
        raise FileNotFoundError(errno.ENOENT, "no such file")
