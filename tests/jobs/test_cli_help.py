"""`--help` is the manual: every command says what it does, every option what it is for."""

from __future__ import annotations

import click
import pytest
from command import neuronmill

from jobs.main import COMMANDS, cli


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = neuronmill(name, "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: neuronmill {name} [OPTIONS]")
    assert max(map(len, result.out.splitlines())) <= 110
    assert "\\" not in result.out, "a mark for click that it does not take as one"
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    first = command.help.strip().splitlines()[0]
    assert first[0].isupper()
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"
            assert parameter.help.endswith((".", "`")), parameter.help


def test_every_command_can_say_what_it_would_do() -> None:
    for name in COMMANDS:
        assert "--dry-run" in neuronmill(name, "--help").out


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "init"])
def test_every_command_of_a_store_takes_it(name: str) -> None:
    assert "--store PATH_OR_URL" in neuronmill(name, "--help").out


def test_an_optional_config_is_shown_as_optional() -> None:
    assert "[CONFIG.yaml]" in neuronmill("search", "--help").out
    assert "[CONFIG.yaml]" not in neuronmill("run", "--help").out


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_the_group_lists_the_commands_in_the_order_of_use(option: str) -> None:
    result = neuronmill(option)
    assert result.code == 0
    listed = [line.split()[0] for line in result.out.partition("Commands:\n")[2].splitlines() if line.strip()]
    assert listed == list(COMMANDS)
    assert "neuronmill init" in result.out
    assert "Exit codes" in result.out


def test_the_version() -> None:
    assert neuronmill("--version").out.startswith("neuronmill, version 0.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Commands:"),
        (["serach"], "No such command 'serach'"),
        (["run"], "Missing argument 'CONFIG.yaml'"),
        (["run", "a.yaml", "--wrokers", "2"], "No such option '--wrokers'"),
        (["top", "--store", "s"], "Missing option '--concept'"),
        (["run", "a.yaml", "--workers", "0"], "0 is not in the range"),
        (["sql", "--store", "s", "--format", "xml", "SELECT 1"], "'xml' is not one of"),
    ],
)
def test_a_wrong_call_is_explained(arguments: list[str], said: str) -> None:
    result = neuronmill(*arguments)
    assert result.code == 2
    assert said in result.err + result.out
    assert "Traceback" not in result.err
