"""`neuronmill`: the command. Parses, calls one library function per job, translates errors to exit codes.

Exit codes: 0 done; 1 incomplete or failed (start the same command again to resume); 2 the request was wrong.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click

from schemas.errors import NeuronmillError, UsageError

#: Commands in the order of `--help`, each in a module of its own name. Modules load when used: torch takes seconds.
#: `import` is a word of Python, so its module has another name.
COMMANDS = {
    "init": "Write a commented config for a corpus and a model.",
    "run": "Do all that a config asks for; safe to start again at any point.",
    "annotate": "Label plain text with spaCy.",
    "plan": "Read the corpus, cut it into shards, compile the concepts.",
    "dump": "Write the activations of every planned shard.",
    "stats": "Statistics per neuron.",
    "search": "Rank neurons for every concept.",
    "contexts": "Extreme rows per neuron, with their words.",
    "explain": "Find formulas over concepts for neurons.",
    "cluster": "Group correlated neurons; how redundant layers are.",
    "map": "Put neurons on a map by whom they correlate with.",
    "correlate": "Compare neurons with those of other models, or with words.",
    "words": "Words per neuron, by their mean activation.",
    "factors": "Groups of neurons per layer, by non-negative factors.",
    "import": "Take in activations of another program.",
    "export": "Write activations for other programs.",
    "publish": "Freeze what is finished as a snapshot for other readers.",
    "report": "Write the HTML page.",
    "top": "Show the best neurons of a concept with their contexts.",
    "agree": "Compare the rankings of methods, models and stores.",
    "sql": "Query the store's tables.",
    "status": "Show how far a store's runs are, from outside.",
    "compact": "Rewrite the files of many small shards as long ones.",
    "verify": "Check a store's files against its records; repair it.",
    "gc": "Remove what nothing in a store refers to.",
}

_MODULES = {"import": "import_activations"}

#: Troubles of the machine, not of the program: told in a line.
_ENVIRONMENT_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})

HELP = """Find the neurons of a language model that hold a concept, at corpus scale.

\b
The usual way:
  neuronmill init --corpus FILES --model MODEL --store STORE --output my.yaml
  neuronmill run my.yaml
  neuronmill top --store STORE --concept upos=NUM
  neuronmill sql --store STORE "SELECT * FROM rankings LIMIT 5"

`run` is the stages annotate, plan, dump, stats, search, contexts, publish and report in order; each is a command of
its own and takes CONFIG.yaml or --store. Finished shards are never redone: after a crash, a kill or Ctrl-C, start the
same command again.

\b
Exit codes: 0 done, 1 incomplete (start again to resume), 2 wrong request.
"""


class _Lazy(click.Group):
    """A group whose commands are modules, imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"jobs.{_MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Lazy, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="neuronmill")
def cli() -> None:
    """See HELP."""


def _check_text(arguments: list[str]) -> None:
    """Refuse arguments whose bytes are no text in the terminal's encoding: nothing further down takes them."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            encoding = sys.getfilesystemencoding()
            raise UsageError(f"argument {argument!a}: not {encoding} text; write it in {encoding}") from error


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit the process with its code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        _check_text(sys.argv[1:] if arguments is None else arguments)
        code = cli.main(args=arguments, prog_name="neuronmill", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except NeuronmillError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit fails once more
        sys.exit(1)
    except OSError as error:
        if error.errno not in _ENVIRONMENT_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        click.echo(
            f"error: {where}cannot be written ({error.strerror}); nothing finished is lost: "
            "mend the cause and start the same command again to resume",
            err=True,
        )
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nstopped; finished work is kept: start the same command again to resume", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
