"""Arrays of NumPy and safetensors files, against numpy and the safetensors package itself."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from pipeline.exchange.npy import NpyWriter
from pipeline.exchange.opened import find_files, open_source
from schemas.errors import ExchangeError

X = np.random.default_rng(0).normal(size=(23, 7)).astype(np.float32)


def whole(source, size=5):
    """All rows, read in ranges of ``size``."""
    parts = [source.read(at, min(at + size, source.n_rows)) for at in range(0, source.n_rows, size)]
    return [np.concatenate(layer) for layer in zip(*parts, strict=True)]


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", "<i4", "|b1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_every_number_type_and_order(dtype, order, tmp_path):
    array = np.asarray(X * 10, dtype=dtype, order=order)
    np.save(tmp_path / "x.npy", array)
    source = open_source([str(tmp_path / "x.npy")])
    assert (source.n_rows, source.n_neurons) == (23, 7)
    assert source.dtype == np.dtype(dtype).newbyteorder("=").name
    assert source.stored_dtype == ("float16" if dtype == "<f2" else "float32")
    assert np.array_equal(whole(source)[0], array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_is_read_as_a_stream_and_backwards_too(save, tmp_path):
    save(tmp_path / "x.npz", a=X, b=-X)
    source = open_source([str(tmp_path / "x.npz")], array="b")
    assert np.array_equal(whole(source)[0], -X)
    assert np.array_equal(source.read(3, 9)[0], -X[3:9])  # back to the front
    assert np.array_equal(source.read(20, 23)[0], -X[20:])  # over a gap
    with pytest.raises(ExchangeError, match="arrays a, b; name one with --array"):
        open_source([str(tmp_path / "x.npz")])


def test_npz_in_columns_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.asfortranarray(X))
    with pytest.raises(ExchangeError, match="column by column"):
        open_source([str(tmp_path / "x.npz")])


def test_safetensors_by_its_own_package(tmp_path):
    save_file({"a": X, "b": X.astype(np.float16)}, tmp_path / "x.safetensors", metadata={"k": "v"})
    assert np.array_equal(whole(open_source([str(tmp_path / "x.safetensors")], tensor="a"))[0], X)
    half = open_source([str(tmp_path / "x.safetensors")], tensor="b")
    assert half.stored_dtype == "float16"
    assert np.array_equal(whole(half)[0], X.astype(np.float16))
    for tensor in (None, "c"):
        with pytest.raises(ExchangeError, match="a, b"):
            open_source([str(tmp_path / "x.safetensors")], tensor=tensor)


def test_bfloat16_comes_as_its_bits(tmp_path):
    tensor = torch.from_numpy(X).to(torch.bfloat16)
    save_torch({"x": tensor}, tmp_path / "x.safetensors")
    source = open_source([str(tmp_path / "x.safetensors")])
    assert source.dtype == source.stored_dtype == "bfloat16"
    assert np.array_equal(whole(source)[0], tensor.view(torch.uint16).numpy())


def test_folders_and_globs_are_one_below_the_other_in_natural_order(tmp_path):
    for number in (10, 9, 1):
        np.save(tmp_path / f"part-{number}.npy", np.full((number, 2), number, np.float32))
    expected = np.concatenate([np.full((n, 2), n, np.float32) for n in (1, 9, 10)])
    for paths in ([str(tmp_path)], [str(tmp_path / "part-*.npy")]):
        source = open_source(paths)
        assert np.array_equal(whole(source, 3)[0], expected)
        assert source.place(10).endswith("part-10.npy: row 0")
    given = open_source([str(tmp_path / "part-10.npy"), str(tmp_path / "part-1.npy")])
    assert whole(given)[0][0, 0] == 10
    np.save(tmp_path / "part-11.npy", np.zeros((1, 3), np.float32))
    with pytest.raises(ExchangeError, match="agree in n_neurons"):
        open_source([str(tmp_path)])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), "T × N"),
        (np.zeros((2, 2, 2)), "T × N"),
        (np.zeros((0, 2)), "must be a row"),
        (np.zeros((2, 0)), "must be a row"),
        (np.zeros((2, 2), complex), "complex128"),
        (np.array([["a"]]), "<U1"),
    ],
)
def test_other_arrays_are_refused(array, message, tmp_path):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ExchangeError, match=message):
        open_source([str(tmp_path / "x.npy")])


class Boom:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.array([[Boom()]], dtype=object), allow_pickle=True)
    np.savez("x.npz", x=np.array([[Boom()]], dtype=object))
    Path("y.npy").write_bytes(pickle.dumps(Boom()))
    for name in ("x.npy", "x.npz", "y.npy"):
        with pytest.raises(ExchangeError, match=name):
            open_source([name])
    assert not Path("exploded").exists()


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors"])
def test_files_that_are_cut_off_or_something_else(name, tmp_path):
    path = tmp_path / name
    for content in (b"", b"garbage", b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(ExchangeError, match=name):
            open_source([str(path)])
    if name == "x.safetensors":
        save_file({"x": X}, path)
    else:
        {"x.npy": np.save, "x.npz": np.savez}[name](path, X)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ExchangeError, match=name):
        whole(open_source([str(path)]))


def test_paths_that_are_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.pt").touch()
    for path in ("nowhere.npy", "empty", "*.npy"):
        with pytest.raises(ExchangeError, match="no such file"):
            find_files([str(tmp_path / path)])
    with pytest.raises(ExchangeError, match="files named"):
        open_source([str(tmp_path / "x.pt")])


def test_the_writer_gives_the_bytes_of_numpy(tmp_path):
    for dtype in (np.float16, np.float32):
        np.save(tmp_path / "a.npy", X.astype(dtype))
        with (tmp_path / "b.npy").open("wb") as handle:
            writer = NpyWriter(handle, X.shape, dtype)
            writer.write(X[:4].astype(dtype))
            writer.write(X[4:].astype(dtype))
        assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
