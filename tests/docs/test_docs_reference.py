"""The reference pages are what the code says."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from docs.generate import REFERENCE, main, pages
from jobs.main import COMMANDS
from schemas.config import Config
from schemas.config_file import load_config
from schemas.tables import TABLES

REPOSITORY = REFERENCE.parents[1]


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return pages()


def test_the_reference_is_up_to_date(generated):
    stale = [name for name, text in generated.items() if (REFERENCE / name).read_text(encoding="utf-8") != text]
    assert not stale, f"{stale} differ from the code; run `make docs`"


def test_the_reference_folder_holds_nothing_else(generated):
    assert {file.name for file in REFERENCE.iterdir()} == set(generated)


def test_writing_gives_the_same_pages(tmp_path, generated):
    main(["--output", str(tmp_path / "reference")])
    assert {file.name: file.read_text(encoding="utf-8") for file in (tmp_path / "reference").iterdir()} == generated


def test_every_command_key_table_and_column_is_described(generated):
    for name in COMMANDS:
        assert f"## neuronmill {name}\n" in generated["cli.md"]
    for table in TABLES.values():
        assert f"## {table.name}\n" in generated["tables.md"]
        for column in table.columns:
            assert column.meaning
            assert f"| `{column.name}` |" in generated["tables.md"]
    for name, field in Config.model_fields.items():
        assert field.description
        assert f"| `{name}` |" in generated["config.md"]


def test_every_config_key_says_what_it_means(generated):
    rows = [line for line in generated["config.md"].splitlines() if line.startswith("| `")]
    assert rows
    for row in rows:
        assert row.rsplit(" | ", 1)[1].strip(" |"), f"no description: {row}"


@pytest.mark.parametrize("name", ["demo.yaml"])
def test_the_json_schema_accepts_the_examples(name, generated):
    schema = json.loads(generated["config.schema.json"])
    Draft202012Validator.check_schema(schema)
    config = load_config(REPOSITORY / "examples" / name)
    Draft202012Validator(schema).validate(json.loads(config.model_dump_json()))


def test_the_json_schema_refuses_an_unknown_key(generated):
    validator = Draft202012Validator(json.loads(generated["config.schema.json"]))
    data = {"store": "s", "corpus": {"sources": [{"path": "p"}]}, "model": {"name": "m"}}
    assert validator.is_valid(data)
    assert not validator.is_valid({**data, "modle": {}})
