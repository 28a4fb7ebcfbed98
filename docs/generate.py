"""Write the reference pages from the code: `python -m docs.generate`.

``docs/reference/cli.md`` comes from the commands' own help, ``config.md`` and ``config.schema.json`` from the config
models, ``tables.md`` from the table schemas and the SQL files of the views and macros. A test compares the pages with
the code.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jobs.main import COMMANDS, cli
from schemas.config import Config
from schemas.section import section_keys
from schemas.sql_macros import SCALAR_MACROS, SOURCE_MACROS, TABLE_MACROS, macro_title
from schemas.table_schema import Column, TableSchema
from schemas.tables import SCHEMA_VERSION, TABLES

REFERENCE = Path(__file__).parent / "reference"
SQL = Path(__file__).parents[1] / "schemas" / "sql"
MACROS = SQL.with_name("macros")
_PARTS = (*SOURCE_MACROS, *SCALAR_MACROS)
_WIDTH = 110  # columns of the help texts, whatever the terminal
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
_WRITTEN_BY = "<!-- Written by `python -m docs.generate` from the code; change the code, not this page. -->"

_CONFIG_INTRODUCTION = """\
A config is a YAML file with the keys below; a key that is not here is an error with a suggestion. Only `store`,
`corpus` and `model` are required. `neuronmill init` writes a commented one, and
[config.schema.json](config.schema.json) lets an editor check it as you type."""

_TABLES_INTRODUCTION = f"""\
Schema version {SCHEMA_VERSION}. `neuronmill sql --store STORE "FROM runs"` sees these views; a published snapshot has
the same names. `row_id` joins `tokens`, `rows`, `labels` and the activations; `word_id`, `sentence_id` and
`document_id` lead from there to the text. Besides the tables below there is one view of activations per component,
`activations_resid`, `activations_mlp` and so on: one row of one layer of one model, with the columns `row_id`, `model`,
`layer` and one per neuron, `n0000`, `n0001`, … (float). `activations` is the store's only or first component.
What was dumped with `dump.mode` `topk` or `threshold` is in `sparse_resid`, `sparse_mlp`, … instead: one row per stored
value, with the columns `model`, `layer`, `row_id`, `neuron` and `value`; what is not there is 0."""

_MACROS_INTRODUCTION = """\
Functions in a FROM, over the views above: `FROM neuron_ap('mlp', 3, 63, 'upos=NUM')`. What has a default is given by
name, `split := 'test'`, and arguments are constants. In a published snapshot each has a further parameter `root`, the
store's folder: `{root}` and the like in the SQL stand for it. How to use them is in [SQL recipes](../analyst.md)."""


def pages() -> dict[str, str]:
    """File name under ``docs/reference`` → its whole text."""
    schema = json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False)
    return {
        "cli.md": cli_page(),
        "config.md": config_page(),
        "config.schema.json": schema + "\n",
        "tables.md": tables_page(),
    }


def cli_page() -> str:
    """The help of `neuronmill` and of each of its commands, as the terminal shows it."""
    context = click.Context(cli, info_name="neuronmill", terminal_width=_WIDTH, **cli.context_settings)
    lines = ["# Command line", "", _WRITTEN_BY, "", *_fenced(cli.get_help(context))]
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None  # noqa: S101 - COMMANDS is what get_command looks names up in
        help_text = command.get_help(click.Context(command, info_name=name, parent=context))
        lines += ["", f"## neuronmill {name}", "", *_fenced(help_text)]
    return "\n".join(lines) + "\n"


def _fenced(text: str) -> list[str]:
    return ["```text", *(line.rstrip() for line in text.splitlines()), "```"]


def config_page() -> str:
    """One table per section of the config: key, type, default, meaning."""
    lines = [
        "# Config",
        "",
        _WRITTEN_BY,
        "",
        _CONFIG_INTRODUCTION,
    ]
    for section, path in _sections():
        lines += ["", f"## {path}", "", _first_paragraph(section), ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        for name, field in section_keys(section).items():
            cells = (f"`{name}`", _field_type(field), _default(field), _one_line(field.description or ""))
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _sections() -> Iterator[tuple[type[BaseModel], str]]:
    """Every section model with the key it stands at, in the order of the file, parents first."""
    waiting: list[tuple[type[BaseModel], str]] = [(Config, "Top level")]
    while waiting:
        section, path = waiting.pop(0)
        yield section, path
        inner = []
        for name, field in section_keys(section).items():
            found = _section_of(field.annotation)
            if found is not None:
                inner.append((found, name if section is Config else f"{path}.{name}"))
        waiting[:0] = inner


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_section_of(inner) for inner in get_args(annotation))
    return next((section for section in found if section is not None), None)


def _field_type(field: FieldInfo) -> str:
    return ", ".join([_type(field.annotation), *_limits(field.metadata)])


def _type(annotation: Any) -> str:
    """A type as a person would say it: `list of text`, `number or null`."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        text = ", ".join(f"`{value}`" for value in inner)
    elif origin in (Union, UnionType):
        text = " or ".join(_type(part) for part in inner)
    elif origin is Annotated:
        limits = (limit for item in inner[1:] for limit in _limits(getattr(item, "metadata", [item])))
        text = ", ".join([_type(inner[0]), *limits])
    elif origin is dict:
        text = f"mapping of {_type(inner[0])} to {_type(inner[1])}"
    elif origin is tuple:
        text = f"list of {_type(inner[0])}"
    elif issubclass(annotation, BaseModel):
        text = f"[section](#{_anchor(annotation)})"
    else:
        text = _NAMES[annotation]
    return text


def _anchor(section: type[BaseModel]) -> str:
    """The page's anchor of a section, made from its heading as Markdown renderers do."""
    return next(path for found, path in _sections() if found is section).replace(".", "").lower()


def _limits(metadata: list[Any]) -> Iterator[str]:
    """`≥ 1` and the like; a pattern's text is left to the JSON schema."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    for item in metadata:
        for name, sign in signs.items():
            limit = getattr(item, name, None)
            if limit is not None:
                yield f"{sign} {limit}"
        if isinstance(item, annotated_types.MinLen):
            yield f"at least {item.min_length}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, BaseModel):
        return "its defaults"
    plain = list(value) if isinstance(value, tuple) else value
    return f"`{json.dumps(plain, ensure_ascii=False)}`"


def _first_paragraph(section: type[BaseModel]) -> str:
    return _one_line((section.__doc__ or "").split("\n\n")[0])


def _one_line(text: str) -> str:
    return " ".join(text.split())


def tables_page() -> str:
    """Every table with its columns, and the SQL of its view."""
    lines = [
        "# Tables",
        "",
        _WRITTEN_BY,
        "",
        _TABLES_INTRODUCTION,
    ]
    for table in TABLES.values():
        lines += ["", *_table(table)]
    lines += ["", "## Activation views", ""]
    for name in ("activations_block", "activations_component", "activations", "sparse_component"):
        lines += [*_sql(SQL / f"{name}.sql"), ""]
    lines += ["## Macros", "", _MACROS_INTRODUCTION, ""]
    lines += ["| macro | what it gives |", "|---|---|"]
    lines += [f"| `{name}` | {macro_title(name)} |" for name in TABLE_MACROS]
    lines += ["", f"Parts of these: {', '.join(f'`{name}`' for name in _PARTS)}.", ""]
    for name in (*TABLE_MACROS, *_PARTS):
        lines += [*_sql(MACROS / f"{name}.sql"), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(table: TableSchema) -> Iterator[str]:
    yield from (f"## {table.name}", "", f"One row is {table.row}.", "")
    yield from ("| column | type | null | meaning |", "|---|---|---|---|")
    for column in table.columns:
        yield _column(column)
    yield from ("", *_sql(SQL / f"{table.name}.sql"))


def _column(column: Column) -> str:
    kind = str(column.type).split("(")[0].replace("dictionary<values=string, indices=int32, ordered=0>", "string")
    cells = (f"`{column.name}`", f"`{kind}`", "yes" if column.nullable else "", _one_line(column.meaning))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _sql(file: Path) -> Iterator[str]:
    text = file.read_text(encoding="utf-8")
    yield from (f"<details><summary>{file.name}</summary>", "", "```sql", text.rstrip(), "```", "", "</details>")


def main(arguments: list[str] | None = None) -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description="Write the reference from the code.")
    parser.add_argument("--output", type=Path, default=REFERENCE, help="folder of the pages (default: docs/reference)")
    folder = parser.parse_args(arguments).output
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
