"""One rule for the name of a model in a store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import ModelConfig
from schemas.config_file import parse_config
from schemas.errors import ConfigError
from schemas.model_alias import default_alias

_ALLOWED = re.compile(ModelConfig.model_json_schema()["properties"]["alias"]["anyOf"][0]["pattern"])


def config(**model: Any) -> Any:
    return parse_config({"store": "s", "corpus": {"sources": "a.txt"}, "model": model}, "here")


@pytest.mark.parametrize(
    ("model", "alias"),
    [
        ({"name": "org/some-model"}, "some-model"),
        ({"name": "package:gt_all/model"}, "gt_all"),
        ({"name": "folder/a model (2)/"}, "a-model-2"),
        ({"name": "folder/x", "random_weights": 3}, "x-random3"),
        ({"name": "x" * 80, "random_weights": 0}, "x" * 56 + "-random0"),
        ({"name": "x", "alias": "mine", "random_weights": 0}, "mine"),
        ({"name": "dir", "gguf_file": "Small.Q4_1.gguf"}, "Small.Q4_1.gguf"),
        ({"name": "dir", "gguf_file": "a.gguf", "random_weights": 1}, "a.gguf-random1"),
        ({"name": "モデル"}, "model"),
    ],
)
def test_aliases(model: dict[str, Any], alias: str) -> None:
    made = config(**model)
    assert made.model_alias == made.model.store_alias == alias


def test_folders_by_their_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a model" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a model" / "inner")
    assert [config(name=name).model_alias for name in (".", "..", "../inner/")] == ["inner", "a-model", "inner"]


@pytest.mark.parametrize("name", ["/", "//", "package:", "package:/model", "", " "])
def test_a_name_without_a_part_to_call_it_by(name: str) -> None:
    with pytest.raises(ConfigError, match=r"here: model\.name: .*give a folder, a hub id or package:NAME/PATH \(got"):
        config(name=name)


@given(st.text(), st.none() | st.text(), st.none() | st.integers(0, 2**64))
def test_any_name_gives_an_alias_that_may_be_given_or_an_error(
    name: str, gguf_file: str | None, random_weights: int | None
) -> None:
    try:
        alias = default_alias(name, gguf_file, random_weights)
    except ValueError:
        return
    assert _ALLOWED.fullmatch(alias)
    assert default_alias(name, gguf_file, 7) != default_alias(name, gguf_file, None)
