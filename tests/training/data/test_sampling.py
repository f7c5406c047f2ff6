"""Balanced draws: the right shares, the same order again."""

import numpy as np
import pytest

from emo_llama.training.data.sampling import BalancedSampler, balanced_weights

CLASSES = np.array([0] * 900 + [1] * 90 + [2] * 10)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_shares_follow_the_power(power):
    drawn = np.array(list(BalancedSampler(balanced_weights(CLASSES, power).repeat(10), seed=0)))
    shares = np.bincount(CLASSES.repeat(10)[drawn]) / len(drawn)
    expected = np.array([900, 90, 10]) ** (1 - power)
    assert shares == pytest.approx(expected / expected.sum(), abs=0.02)


def test_seed_and_epoch_settle_the_order():
    weights = balanced_weights(CLASSES, 0.5)
    one, other = BalancedSampler(weights, seed=3), BalancedSampler(weights, seed=3)
    first = list(one)
    assert first == list(other) and len(first) == len(CLASSES)
    one.set_epoch(1)
    assert list(one) != first
    other.set_epoch(1)
    assert list(one) == list(other)
