"""Statistics for batch norms that came without any."""

import torch
from torch import nn

from emo_llama.norms import restate_norms


def test_the_function_stays_and_training_says_the_same():
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, eps=1e-3), nn.ReLU()),
        *(nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4, eps=1e-3)),
    )
    for norm in (network[1], network[4]):
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
    pictures = 3 + 2 * torch.randn(8, 3, 12, 12)
    with torch.no_grad():
        before = network.eval()(pictures)
        restate_norms(network, pictures.split(2))
        assert not network.training
        torch.testing.assert_close(network(pictures), before, atol=1e-4, rtol=0)
        torch.testing.assert_close(network.train()(pictures), before, atol=1e-3, rtol=0)
    seen = network[0](pictures).detach()
    mean = network[1].running_mean  # which the pass in training has moved only towards the same
    torch.testing.assert_close(mean, seen.mean((0, 2, 3)), atol=1e-4, rtol=0)


def test_a_channel_that_never_changes_stays_finite():
    norm = nn.BatchNorm2d(1)
    restate_norms(norm, [torch.full((2, 1, 4, 4), 7.0)])
    assert (norm.running_mean.item(), norm.running_var.item()) == (7.0, 0.0)
    torch.testing.assert_close(norm.eval()(torch.full((1, 1, 1, 1), 7.0)).item(), 7.0, **CLOSE)


CLOSE = {"atol": 1e-4, "rtol": 0}
