"""Every command explains itself and can say what it would do."""

from __future__ import annotations

import click
import pytest

from jobs.main import COMMANDS, cli


@pytest.fixture(params=COMMANDS)
def command(request) -> click.Command:
    found = cli.get_command(click.Context(cli, info_name="neuronmill", **cli.context_settings), request.param)
    assert found is not None
    return found


def test_every_command_has_help(command):
    assert command.help
    assert len(command.help.split()) >= 5


def test_every_command_has_a_dry_run(command):
    assert "--dry-run" in {name for parameter in command.params for name in parameter.opts}


def test_every_option_has_help(command):
    silent = [p.opts[0] for p in command.params if isinstance(p, click.Option) and not p.help]
    assert not silent


def test_every_command_works_on_a_store_or_makes_a_config(command):
    names = {name for parameter in command.params for name in parameter.opts}
    assert "--store" in names


def test_the_group_lists_every_command_with_its_purpose():
    text = cli.get_help(click.Context(cli, info_name="neuronmill", **cli.context_settings))
    for name, purpose in COMMANDS.items():
        assert name in text
        assert purpose.split()[0] in text
