"""Products by torch give the co-moments that numpy's give; run on the processor, and on a GPU where there is one."""

import numpy as np
import pytest
import torch

from pipeline.stats import CrossMoments
from pipeline.stats.cross_moments import centred
from pipeline.stats.device_products import DeviceProducts
from schemas.errors import ConfigError

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none here"),
        ],
    ),
]
ERRORS = {"float32": 1e-6, "bf16x3": 2.0**-15, "tf32": 2.0**-10}


def values(n_neurons: int, n_rows: int) -> np.ndarray:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((n_neurons, 6)) @ rng.standard_normal((6, n_rows)) + rng.standard_normal(
        (n_neurons, n_rows)
    )
    x[0] = 2.5
    x[2] = x[1]
    x[3] = -x[1]
    x[4:8] += 300
    return x.astype(np.float32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("arithmetic", list(ERRORS))
@pytest.mark.parametrize("symmetric", [True, False])
def test_correlations_within_the_stated_error(device: str, arithmetic: str, symmetric: bool) -> None:
    x = values(30, 1500)
    here = DeviceProducts(CrossMoments.empty(30, None if symmetric else 20), device, arithmetic)
    there = CrossMoments.empty(30, None if symmetric else 20, "float64")
    for rows in (slice(0, 1), slice(1, 800), slice(800, 1500)):
        for state, precision in ((here, "float32"), (there, "float64")):
            a = centred(x[:, rows], precision)
            state.add_centred(a, a if symmetric else centred(x[10:, rows], precision))
    found, expected = here.finish(), there
    assert found.n_rows == 1500
    difference = np.abs(found.correlations() - expected.correlations())
    assert np.nanmax(difference) <= ERRORS[arithmetic]
    np.testing.assert_array_equal(np.isnan(found.correlations()), np.isnan(expected.correlations()))
    np.testing.assert_allclose(found.m2_a, expected.m2_a, rtol=1e-6)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="arithmetic must be one of"):
        DeviceProducts(CrossMoments.empty(2), "cpu", "int8")
    with pytest.raises(ConfigError, match="float32 with float64 states"):
        DeviceProducts(CrossMoments.empty(2, precision="float64"), "cpu", "tf32")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no CUDA device"):
            DeviceProducts(CrossMoments.empty(2))
