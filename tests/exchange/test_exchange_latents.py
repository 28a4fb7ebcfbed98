"""Caches of sparse latents, laid out as delphi saves them: splits by latent, latents counted from the split's first."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.exchange.opened import open_source
from schemas.errors import ExchangeError

RNG = np.random.default_rng(0)
DENSE = np.where(RNG.random((4, 5, 12)) < 0.1, RNG.normal(size=(4, 5, 12)), 0).astype(np.float16)
TOKENS = RNG.integers(0, 99, (4, 5)).astype(np.int64)


def where(dense):
    """Places that are not zero, in C order, which is all that `save_file` looks at."""
    return np.ascontiguousarray(np.argwhere(dense))


def save_cache(folder, edges=(0, 5, 12), dtype=np.uint16, tokens=TOKENS, dense=DENSE):
    """What delphi's ``save_splits`` writes."""
    folder.mkdir(exist_ok=True)
    for start, stop in pairwise(edges):
        part = dense[..., start:stop]
        content = {"locations": where(part).astype(dtype), "activations": part[part != 0]}
        if tokens is not None:
            content["tokens"] = tokens
        save_file(content, folder / f"{start}_{stop - 1}.safetensors")
    return folder


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
def test_splits_lie_side_by_side(dtype, tmp_path):
    source = open_source([str(save_cache(tmp_path / "cache", dtype=dtype))])
    assert (source.n_rows, source.n_neurons, source.stored_dtype) == (20, 12, "float16")
    for size in (1, 7, 20):
        parts = [source.read(at, min(at + size, 20))[0] for at in range(0, 20, size)]
        assert np.array_equal(np.concatenate(parts), DENSE.reshape(20, 12))
    row, latent, value = source.triples(3, 9)
    assert np.array_equal(DENSE.reshape(20, 12)[row + 3, latent], value)
    assert len(value) == np.count_nonzero(DENSE.reshape(20, 12)[3:9])
    (rows,) = source.rows()
    assert rows.columns["word"] == [str(token) for token in TOKENS.ravel()]
    assert rows.columns["sentence"] == [str(n // 5) for n in range(20)]
    assert rows.columns["position"] == [str(n % 5) for n in range(20)]


def test_one_file_of_rows_and_latents(tmp_path):
    flat = DENSE.reshape(20, 12).astype(np.float32)
    flat[-1, -1] = 1
    save_file({"locations": where(flat), "activations": flat[flat != 0]}, tmp_path / "x.safetensors")
    source = open_source([str(tmp_path / "x.safetensors")])
    assert source.rows() is None
    assert np.array_equal(source.read(0, 20)[0], flat)


def test_a_latent_that_is_never_active_is_zero(tmp_path):
    dense = DENSE.copy()
    dense[..., 5:] = 0
    source = open_source([str(save_cache(tmp_path / "cache", dense=dense))])
    assert np.array_equal(source.read(0, 20)[0], dense.reshape(20, 12))


def test_what_is_no_cache(tmp_path):
    folder = save_cache(tmp_path / "cache", edges=(0, 4, 8, 12))
    (folder / "4_7.safetensors").unlink()
    with pytest.raises(ExchangeError, match=r"8_11\.safetensors: .*begins with 8 and 4 is next"):
        open_source([str(folder)])
    with pytest.raises(ExchangeError, match="without `tokens`"):
        open_source([str(save_cache(tmp_path / "bare", tokens=None))])
    good = {"locations": where(DENSE), "activations": DENSE[DENSE != 0], "tokens": TOKENS}
    for change, message in (
        ({"locations": good["locations"][::-1].copy()}, "must increase"),
        ({"locations": np.repeat(good["locations"][:1], len(good["locations"]), 0)}, "must increase"),
        ({"activations": good["activations"][1:].copy()}, "`activations` floats"),
        ({"locations": good["locations"].astype(np.float32)}, "must be integers"),
        ({"tokens": TOKENS[:2].copy()}, "rows of values and 10 of `tokens`"),
        ({"tokens": TOKENS.ravel()}, "`tokens` must be"),
        ({"tokens": TOKENS[:, :2].copy()}, "too far"),
    ):
        save_file(good | change, tmp_path / "x.safetensors")
        with pytest.raises(ExchangeError, match=message):
            open_source([str(tmp_path / "x.safetensors")])
