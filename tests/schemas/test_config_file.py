"""A config file in, a Config or one clear error out."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import Config
from schemas.config_file import load_config, parse_config
from schemas.errors import ConfigError

_SMALL: dict[str, Any] = {"store": "s", "corpus": {"sources": "a.txt"}, "model": {"name": "m"}}


def refusal(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def test_the_smallest_config(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(_SMALL))
    config = load_config(tmp_path / "a.yaml")
    assert config.corpus.sources[0].path == "a.txt"
    assert load_config(tmp_path / "a.yaml", store="other").store == "other"
    assert load_config(tmp_path / "a.yaml", store=None).store == "s"
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(_SMALL).replace("\n", "\r\n").encode())
    assert load_config(tmp_path / "bom.yaml") == config


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("[0, 2-5]", (0, 2, 3, 4, 5)),
        ("[0-3]", (0, 1, 2, 3)),
        ("['7']", (7,)),
        ("{resid: [1-2, 4], mlp: [3]}", {"resid": (1, 2, 4), "mlp": (3,)}),
    ],
)
def test_layers_are_numbers_and_ranges(layers: str, expected: object, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{yaml.safe_dump(_SMALL)}dump: {{layers: {layers}}}\n")
    config = load_config(tmp_path / "a.yaml")
    assert config.dump.layers == expected
    assert parse_config(json.loads(config.model_dump_json()), "again") == config


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("store: s\ncorpus: [a\nmodel: m\n", [":3: not valid YAML"]),
        ("store: s\n\tcorpus: a\n", [":2: not valid YAML"]),
        ("store: s\nmodel: {name: m}\nstore: t\n", [":3:", "'store'", "twice"]),
        ("dump:\n  unit: word\n  unit: token\n", [":3:", "'unit'", "twice"]),
        (b"store: \xff\n", ["not UTF-8", "byte 7", "save it as UTF-8"]),
        ("", ["an empty file", "neuronmill init"]),
        ("# nothing\n", ["an empty file"]),
        ("- a\n", ["a list", "mapping"]),
        ("hello\n", ["a str", "mapping"]),
        ("store: !!python/object/apply:os.system [ls]\n", [":1: not valid YAML"]),
    ],
)
def test_what_is_no_config(content: str | bytes, said: list[str], tmp_path: Path) -> None:
    message = refusal(tmp_path / "a.yaml", content)
    for part in said:
        assert part in message, message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dunp": {}}, "dunp: unknown key; did you mean 'dump'?"),
        ({"dump": {"unti": "word"}}, "dump.unti: unknown key; did you mean 'unit'?"),
        ({"dump": {"zzz": 1}}, "dump.zzz: unknown key; known here: components, layers"),
        (
            {"concepts": {"include": [{"layer": "upos", "min_cuont": 3}]}},
            "concepts.include[0].min_cuont: unknown key; did you mean 'min_count'?",
        ),
        ({"corpus": {"sources": [{"path": "a", "splitt": "dev"}]}}, "corpus.sources[0].splitt: unknown key; did you"),
        ({"corpus": {"sources": "a", "split": {"tset": 0.5}}}, "corpus.split.tset: unknown key; did you mean 'test'?"),
        ({"model": {}}, "model.name: required key is missing; add it"),
        ({"dump": {"rows_per_shard": "many"}}, "dump.rows_per_shard: Input should be a valid integer"),
        ({"dump": {"rows_per_shard": 0}}, "greater than or equal to 1 (got 0)"),
        ({"dump": {"dtype": "flaot16"}}, "did you mean 'float16'?"),
        ({"dump": {"components": ["resid", "mpl"]}}, "did you mean 'mlp'?"),
        ({"dump": {"components": ["Resid"]}}, "dump.components[0]: String should match pattern"),
        ({"dump": {"neurons": {"resid": ["9-2"]}}}, "dump.neurons: '9-2' ends before it begins"),
        ({"dump": {"layers": ["9-2"]}}, "dump.layers: '9-2' ends before it begins"),
        ({"dump": {"layers": {"resid": ["0-99999"]}}}, "'0-99999' is no number; give numbers and ranges such as 2-5"),
        ({"search": {"layers": ["a-b"]}}, "search.layers: 'a-b' is no number"),
        ({"dump": {"neurons": {"resid": ["a"]}}}, "dump.neurons[0]: String should match pattern"),
        ({"dump": {"modules": [{"name": "mlp", "pattern": "x"}]}}, "'mlp' in `modules` or `saes` is the name of"),
        ({"dump": {"modules": [{"name": "x", "pattern": "x"}]}}, "but not in `components`"),
        ({"dump": {"saes": [{"name": "x", "path": "x", "layer": 1, "k": 3}]}}, "`k` is needed with activation `topk`"),
        ({"search": {"keep": "x"}}, "search.keep: Input should be a valid integer"),
        ({"search": {"keep": "x"}}, "or Input should be 'all' (got 'x')"),
        ({"search": {"methods": []}}, "search.methods: "),
        ({"executor": 3}, "executor: Input should be a valid dictionary"),
        ({"store": None}, "store: Input should be a valid string (got None)"),
        ({"model": {"name": "m", "alias": "a/b"}}, "model.alias: "),
        ({"corpus": {"sources": [{"path": "a", "split": "dev"}], "split": {}}}, "exclude each other; drop one"),
        ({"concepts": {"include": [{"layer": "a", "regex": "b"}]}}, "concepts.include[0]: a concept takes exactly one"),
        ({"concepts": {"include": [{"regex": "b"}]}}, "concepts.include[0]: a `regex` concept needs `name`"),
    ],
)
def test_what_is_wrong_in_a_config(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    message = refusal(tmp_path / "a.yaml", yaml.safe_dump(_SMALL | change))
    assert said in message, message
    assert len(message.splitlines()) == 1


def test_every_problem_has_its_line(tmp_path: Path) -> None:
    message = refusal(
        tmp_path / "a.yaml", yaml.safe_dump({"store": 1, "model": {"nmae": "m"}, "corpus": _SMALL["corpus"]})
    )
    assert [line.split(": ")[1] for line in message.splitlines()] == ["store", "model.name", "model.nmae"]


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    message = refusal(tmp_path / "a.yaml", yaml.safe_dump(_SMALL | {"dump": {"layers": "x" * 5000}}))
    assert len(message) < 400


def test_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    data = _SMALL | {"store": "${PLACE}/store", "corpus": {"sources": [{"path": "${PLACE}/a.txt"}]}}
    monkeypatch.setenv("PLACE", "/data")
    path.write_text(yaml.safe_dump(data))
    config = load_config(path)
    assert (config.store, config.corpus.sources[0].path) == ("/data/store", "/data/a.txt")
    monkeypatch.delenv("PLACE")
    assert "PLACE" in refusal(path, yaml.safe_dump(data))


def test_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "no.yaml", tmp_path):
        with pytest.raises(ConfigError, match="no such config file; `neuronmill init --help`"):
            load_config(path)


def test_a_config_survives_json() -> None:
    config = parse_config(_SMALL, "here")
    assert parse_config(json.loads(config.model_dump_json()), "there") == config


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*Config.model_fields, "x"]), _plain))
def test_anything_gets_a_config_or_a_config_error(data: dict[str, Any]) -> None:
    with suppress(ConfigError):
        parse_config(data, "here")


@given(st.binary(max_size=200))
def test_any_bytes_get_a_config_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        load_config(path)


@pytest.mark.parametrize(
    ("dump", "said"),
    [
        ({"mode": "topk"}, "`dump.mode: topk` and `dump.k` go together; mode is 'topk' and k is missing"),
        ({"k": 3}, "`dump.mode: topk` and `dump.k` go together; mode is 'dense' and k is 3"),
        ({"mode": "threshold", "k": 3}, "mode is 'threshold' and k is 3"),
        ({"mode": "threshold"}, "mode is 'threshold' and threshold is missing"),
        ({"mode": "topk", "k": 3, "threshold": 1.0}, "mode is 'topk' and threshold is 1.0"),
        ({"mode": "topk", "k": 3, "dtype": "int8"}, "`dump.dtype: int8` goes with `dump.mode: dense`; mode is 'topk'"),
        ({"mode": "threshold", "threshold": -1.0}, "threshold"),
        ({"sample": {"share": 0}}, "share"),
        ({"sample": {"share": 1.5}}, "share"),
        ({"sample": {"share": 0.5, "seed": -1}}, "seed"),
    ],
)
def test_smaller_dumps_have_what_they_need(tmp_path: Path, dump: dict[str, Any], said: str) -> None:
    assert said in refusal(tmp_path / "a.yaml", yaml.safe_dump({**_SMALL, "dump": dump}))
