"""Kernels compile anywhere, and blocks of neurons are covered exactly once."""

import numpy as np
import pytest

from pipeline.compiled import kernel
from pipeline.stats.threads import over_neurons


def test_a_kernel_compiles_where_nothing_can_be_cached():
    names: dict = {}
    exec(compile("def double(x):\n    return 2 * x", "<no file>", "exec"), names)
    assert kernel(names["double"])(21) == 42


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("n_neurons", [0, 1, 5, 100])
def test_every_neuron_is_visited_once(n_neurons, threads):
    visits = np.zeros(n_neurons, int)

    def work(first: int, last: int) -> None:
        visits[first:last] += 1

    over_neurons(work, n_neurons, threads)
    assert (visits == 1).all()


def test_an_error_in_a_piece_is_raised():
    def work(first: int, last: int) -> None:
        if first <= 5 < last:
            raise ValueError("neuron 5")

    with pytest.raises(ValueError, match="neuron 5"):
        over_neurons(work, 10, 2)
