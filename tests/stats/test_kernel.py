"""Kernels compile anywhere, and blocks of neurons are covered exactly once."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import compiled
from pipeline.compiled import fingerprint, kernel
from pipeline.stats.threads import over_neurons


def test_a_kernel_compiles_where_nothing_can_be_cached():
    names: dict = {}
    exec(compile("def double(x):\n    return 2 * x", "<no file>", "exec"), names)
    assert kernel(names["double"])(21) == 42


def test_a_changed_kernel_has_another_cache_than_before(tmp_path):
    """Also for the kernels that call it: their own files are as they were."""
    kernel_file, other = tmp_path / "inner.py", tmp_path / "other.py"
    kernel_file.write_text("@kernel\ndef inner(): return 1\n")
    other.write_text("x = 1\n")
    before = fingerprint(tmp_path)
    other.write_text("x = 2\n")
    assert fingerprint(tmp_path) == before
    kernel_file.write_text("@kernel\ndef inner(): return 2\n")
    assert fingerprint(tmp_path) != before


_PRINT_CACHE = """
from pathlib import Path
import numba
from pipeline import compiled
from pipeline.stats.quantiles import _order_statistics
before = numba.config.CACHE_DIR
print(compiled._cache_folder(), Path(_order_statistics._cache.cache_path).is_relative_to(compiled._cache_folder()))
assert numba.config.CACHE_DIR == before
"""


def test_machine_code_is_kept_where_the_environment_says_by_the_version_of_all_kernels(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", _PRINT_CACHE], env=environment, capture_output=True, text=True, check=True
    )
    package = Path(compiled.__file__).parent
    assert done.stdout.split() == [str(tmp_path / "cache" / f"kernels-{fingerprint(package)}"), "True"]


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
