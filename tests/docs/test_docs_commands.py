"""Commands and configs in the documentation exist as they are written."""

from __future__ import annotations

import argparse
import re
import shlex

import click
import pytest
import yaml
from markdown_pages import PAGES, ROOT, blocks, commands

from deploy.sizing import parser as sizing_parser
from jobs.main import COMMANDS, cli
from schemas.config_file import parse_config

SHOWN = [(page, line) for page in PAGES for line in commands(page)]
NEURONMILL = [(page, line) for page, line in SHOWN if re.search(r"\bneuronmill (?!/)", line) and "kubectl" not in line]
CONFIGS = [(page, text) for page in PAGES for text in blocks(page, "yaml")]


def _names(shown: list) -> list[str]:
    return [f"{page.stem}: {' '.join(text.split())[:50]}" for page, text in shown]


def test_the_documentation_shows_every_command():
    shown = {match for _, line in NEURONMILL for match in re.findall(r"neuronmill (\w+)", line)}
    assert not set(COMMANDS) - shown


@pytest.mark.parametrize(("page", "line"), NEURONMILL, ids=_names(NEURONMILL))
def test_every_neuronmill_command_parses(page, line):
    words = shlex.split(line, comments=True)
    name, *arguments = words[words.index("neuronmill") + 1 :]
    command = cli.get_command(click.Context(cli, **cli.context_settings), name)
    assert command is not None, f"{page.relative_to(ROOT)}: no command {name!r}"
    command.make_context(name, arguments, parent=click.Context(cli, **cli.context_settings))


@pytest.mark.parametrize(("page", "line"), [(p, t) for p, t in SHOWN if "deploy.sizing" in t])
def test_every_sizing_command_parses(page, line):
    options = sizing_parser().parse_args(shlex.split(line)[3:])
    assert isinstance(options, argparse.Namespace)


@pytest.mark.parametrize(("page", "line"), [(p, t) for p, t in SHOWN if t.startswith("make ")])
def test_every_make_target_exists(page, line):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    target = line.split()[1]
    assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), f"{page.name}: the Makefile has no {target!r}"
    for variable in re.findall(r"\b([A-Z_]+)=", line):
        assert re.search(rf"^{variable} ", makefile, re.MULTILINE), f"{page.name}: the Makefile has no {variable}"


@pytest.mark.parametrize(("page", "text"), CONFIGS, ids=_names(CONFIGS))
def test_every_config_shown_is_valid(page, text):
    base = {"store": "s", "corpus": {"sources": ["c"]}, "model": {"name": "m"}}
    shown = yaml.safe_load(text)
    read = parse_config(base | shown, page.name)
    assert shown.keys() <= read.model_fields_set
