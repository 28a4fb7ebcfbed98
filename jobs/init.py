"""`neuronmill init`: write a commented config for a corpus and a model."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import get_args

import click

from jobs.console import say
from jobs.options import dry_run_option, store_option
from pipeline.run.starter_config import starter_config
from schemas.config import CorpusConfig
from schemas.errors import ConfigError
from schemas.locations import PREFIX, resolve_location

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def check_model(model: str) -> None:
    """Refuse a model that is no folder, no ``package:NAME/PATH`` that is there, and no hub id ``ORG/NAME``.

    A path into a folder that is there is no hub id.
    """
    if model.strip() and Path(resolve_location(model)).expanduser().is_dir():
        return
    in_folder = Path(model.partition("/")[0]).is_dir()
    if model.startswith(PREFIX) or in_folder or not _HUB_ID.fullmatch(model):
        raise ConfigError(
            f"--model {model}: no such folder; give a folder with config.json, a hub id ORG/NAME or package:NAME/PATH"
        )


@click.command()
@click.option("--corpus", required=True, metavar="PATH", help="File, folder, glob or URL of the corpus.")
@click.option("--model", required=True, help="Directory or hub id of the model.")
@store_option()
@click.option("--output", required=True, type=click.Path(dir_okay=False), metavar="F.yaml", help="The config to write.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(get_args(CorpusConfig.model_fields["format"].annotation)),
    default="auto",
    help="Format of the corpus; by default told from its files.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@dry_run_option
def command(corpus: str, model: str, store_url: str, output: str, file_format: str, force: bool, dry_run: bool) -> None:
    """Read the corpus once and write a commented config that runs unedited and takes in every label layer it finds."""
    path = Path(output)
    if path.exists() and not force:
        raise ConfigError(f"--output {output}: the file exists; --force replaces it")
    check_model(model)
    text = starter_config(corpus, model, store_url, output, file_format)
    if dry_run:
        say([text])
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output {output}: cannot be written ({error.strerror}); give another path") from error
    say([f"wrote {output}", f"next: neuronmill run {shlex.quote(str(output))}"])
