"""NeuroX files: as NeuroX's own writers lay them out, written here by hand with h5py and json."""

from __future__ import annotations

import json
import sys

import h5py
import numpy as np
import pytest

from pipeline.exchange.neurox import NeuroxHdf5, NeuroxHdf5Writer, NeuroxJson, NeuroxJsonWriter
from pipeline.exchange.opened import open_source
from schemas.errors import ExchangeError

SENTENCES = [["the", "cat"], ["a", "dog", "bites"], ["the", "cat"], ["one"]]
VALUES = [np.random.default_rng(n).normal(size=(3, len(s), 5)).astype(np.float32) for n, s in enumerate(SENTENCES)]
WHOLE = [np.concatenate([values[layer] for values in VALUES]) for layer in range(3)]


def write_json(path, layers=(0, 1, 2), sentences=SENTENCES):
    lines = []
    for number, (words, values) in enumerate(zip(sentences, VALUES, strict=True)):
        features = [
            {"token": w, "layers": [{"index": x, "values": values[x, i].tolist()} for x in layers]}
            for i, w in enumerate(words)
        ]
        lines.append(json.dumps({"linex_index": number, "features": features}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        index = {}
        for number, (words, values) in enumerate(zip(SENTENCES, VALUES, strict=True)):
            file.create_dataset(str(number), values.shape, dtype="float32", data=values)
            text = " ".join(words)
            index[text if text not in index else f"{text} (Occurrence 2)"] = str(number)
        dataset = file.create_dataset("sentence_to_index", (1,), dtype=h5py.special_dtype(vlen=str))
        dataset[0] = json.dumps(index)


def check(source):
    assert source.layers == (0, 1, 2)
    assert (source.n_rows, source.n_neurons) == (8, 5)
    for size in (1, 3, 8):
        parts = [source.read(at, min(at + size, 8)) for at in range(0, 8, size)]
        for layer, expected in enumerate(WHOLE):
            assert np.array_equal(np.concatenate([part[layer] for part in parts]).astype(np.float32), expected)
    assert np.array_equal(source.read(4, 6)[1], WHOLE[1][4:6])  # over what was skipped
    assert np.array_equal(source.read(2, 3)[2], WHOLE[2][2:3])  # and back
    rows = list(source.rows())
    assert [row.columns["word"] for row in rows] == SENTENCES
    assert [row.columns["sentence"][0] for row in rows] == ["0", "1", "2", "3"]
    assert rows[1].columns["position"] == ["0", "1", "2"]


def test_json(tmp_path):
    write_json(tmp_path / "x.json")
    check(open_source([str(tmp_path / "x.json")]))


def test_hdf5_with_a_sentence_that_comes_again(tmp_path):
    write_hdf5(tmp_path / "x.hdf5")
    source = open_source([str(tmp_path / "x.hdf5")])
    assert source.stored_dtype == "float32"
    check(source)


def test_json_layers_keep_their_numbers(tmp_path):
    write_json(tmp_path / "x.json", layers=(2, 0))
    source = NeuroxJson(tmp_path / "x.json")
    assert source.layers == (2, 0)
    assert np.array_equal(source.read(0, 8)[0], WHOLE[2])


def test_several_files_go_on_counting_sentences(tmp_path):
    write_json(tmp_path / "a.json")
    write_json(tmp_path / "b.json")
    source = open_source([str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    names = [batch.columns["sentence"][0] for batch in source.rows()]
    assert names == [str(n) for n in range(8)]
    assert np.array_equal(source.read(6, 10)[0], np.concatenate([WHOLE[0], WHOLE[0]])[6:10].astype(np.float64))


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"features": 3}',
        '{"features": [{"token": 3, "layers": [{"index": 0, "values": [1]}]}]}',
        '{"features": [{"token": "a", "layers": [{"index": 0, "values": [1, 2]}, {"index": 1, "values": [1]}]}]}',
        '{"features": [{"token": "a", "layers": [{"index": 5, "values": [1, 2, 3, 4, 5]}]}]}',
    ],
)
def test_a_bad_line_of_json_is_named(line, tmp_path):
    write_json(tmp_path / "x.json")
    with (tmp_path / "x.json").open("a") as handle:
        handle.write(line + "\n")
    with pytest.raises(ExchangeError, match=r"x\.json:5: "):
        NeuroxJson(tmp_path / "x.json")


def test_hdf5_whose_words_hold_spaces_is_refused(tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.create_dataset("0", data=np.zeros((1, 1, 2), np.float32))
        file.create_dataset("sentence_to_index", (1,), dtype=h5py.string_dtype())[0] = json.dumps({"New York": "0"})
    with pytest.raises(ExchangeError, match="2 words between single spaces, and its activations 1"):
        NeuroxHdf5(tmp_path / "x.hdf5")
    (tmp_path / "y.h5").write_bytes(b"no hdf5")
    with pytest.raises(ExchangeError, match=r"y\.h5"):
        NeuroxHdf5(tmp_path / "y.h5")


def test_written_files_read_back_and_by_neurox_rules(tmp_path):
    with (tmp_path / "x.json").open("wb") as handle:
        json_writer = NeuroxJsonWriter(handle, [0, 1, 2])
        for words, values in zip(SENTENCES, VALUES, strict=True):
            json_writer.write(words, values)
    hdf5_writer = NeuroxHdf5Writer(tmp_path / "x.hdf5", [0, 1, 2])
    for words, values in zip(SENTENCES, VALUES, strict=True):
        hdf5_writer.write(words, values)
    with pytest.raises(ExchangeError, match="joins words by spaces"):
        hdf5_writer.write(["New York"], VALUES[3])
    hdf5_writer.close()
    check(NeuroxJson(tmp_path / "x.json"))
    check(NeuroxHdf5(tmp_path / "x.hdf5"))
    # what NeuroX's loader does with them
    lines = [json.loads(line) for line in (tmp_path / "x.json").read_text().splitlines()]
    assert [line["linex_index"] for line in lines] == [0, 1, 2, 3]
    with h5py.File(tmp_path / "x.hdf5") as file:
        index = json.loads(file.get("sentence_to_index")[0])
        assert [np.array_equal(file[name], values) for name, values in zip(index.values(), VALUES, strict=True)]
        assert list(index) == ["the cat", "a dog bites", "the cat (Occurrence 2)", "one"]


def test_without_h5py_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ExchangeError, match=r"neuronmill\[hdf5\]"):
        NeuroxHdf5(tmp_path / "x.hdf5")
