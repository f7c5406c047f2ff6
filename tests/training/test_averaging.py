"""The running average against PyTorch's own class and the formula, and how a run finds it again."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from emo_llama.training.averaging import AVERAGE, WeightAverage

DECAY = 0.9


def network():
    """Weights, a norm's floating statistics, and its whole counter."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def step(model):
    """One of a training, statistics included."""
    model(torch.randn(8, 3)).square().mean().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
            parameter.grad = None


def test_a_whole_network_is_averaged_as_pytorch_does():
    """Bit for bit, but for the counter, which PyTorch rounds down after each step."""
    model = network()
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=True)
    ours = WeightAverage(model.state_dict, DECAY, from_start=False)
    for _ in range(5):
        step(model)
        theirs.update_parameters(model)
        ours.update()
    for name, tensor in theirs.module.state_dict().items():
        expected = torch.tensor(5) if name.endswith("num_batches_tracked") else tensor
        assert torch.equal(ours.average[name], expected), name


def test_the_trained_weights_alone_follow_the_formula():
    model = network()
    model[0].requires_grad_(False)
    trained = {k: p for k, p in model.named_parameters() if p.requires_grad}
    ours = WeightAverage(lambda: trained, DECAY)
    ours.on_train_begin(None, SimpleNamespace(global_step=0), None)
    expected = model[2].weight.detach().clone()
    for _ in range(4):
        model[2].weight.data += torch.randn(2, 4)
        expected = DECAY * expected + (1 - DECAY) * model[2].weight.detach()
        ours.on_step_end(None, None, None)
    assert set(ours.average) == {"1.weight", "1.bias", "2.weight", "2.bias"}
    torch.testing.assert_close(ours.average["2.weight"], expected)


def test_the_average_is_in_place_only_meanwhile():
    model, x = network().eval(), torch.randn(2, 3)
    ours = WeightAverage(model.state_dict, DECAY)
    ours.update()
    first = model(x)
    model[2].weight.data += 1
    last = model(x)
    with pytest.raises(KeyboardInterrupt), ours.in_place():
        assert torch.equal(model(x), first)
        raise KeyboardInterrupt
    assert torch.equal(model(x), last)
    with ours.in_place():
        assert torch.equal(model(x), first)


def test_a_run_takes_its_average_up_again(tmp_path):
    model = network()
    ours = WeightAverage(model.state_dict, DECAY)
    args = SimpleNamespace(output_dir=str(tmp_path))
    state = SimpleNamespace(global_step=2, is_world_process_zero=True)
    (tmp_path / "checkpoint-2").mkdir()
    for _ in range(2):
        step(model)
        ours.update()
    ours.on_save(args, state, None)
    assert [path.name for path in (tmp_path / "checkpoint-2").iterdir()] == [AVERAGE]
    again = WeightAverage(model.state_dict, DECAY)
    again.on_train_begin(args, state, None)
    written = load_file(tmp_path / "checkpoint-2" / AVERAGE)
    for name, tensor in ours.average.items():
        assert torch.equal(again.average[name], tensor) and torch.equal(written[name], tensor)
    again.on_train_begin(args, SimpleNamespace(global_step=0), None)  # another training, anew
    assert torch.equal(again.average["0.weight"], model[0].weight)
