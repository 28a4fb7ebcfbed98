"""`neuronmill annotate`: label plain text with spaCy."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from jobs.console import ConsoleProgress, say
from jobs.held_store import held, run_lease
from jobs.new_store import store_to_fill
from jobs.options import (
    config_argument,
    dry_run_option,
    on_error_option,
    read_config,
    store_option,
    wait_option,
    with_settings,
)
from pipeline.run.annotation import annotate_into
from pipeline.run.progress import Progress
from pipeline.store.open_storage import open_storage
from pipeline.store.storage import LocalStorage
from schemas.config import AnnotateConfig, Config
from schemas.errors import ConfigError


def parts_folder(config: Config, output: str | None) -> Path:
    """``--output``, else ``annotated`` in the config's store.

    Raises :class:`ConfigError` for a URL: taggers write local files.
    """
    storage = open_storage(output or config.store)
    if isinstance(storage, LocalStorage):
        return Path(output.removeprefix("file://")).expanduser() if output else storage.folder / "annotated"
    if output:
        raise ConfigError(f"--output {output}: annotation is written to a local folder; give one")
    raise ConfigError(
        f"store {config.store}: it is remote, and annotation is written to a local folder; name one (--output DIR) "
        "and plan a config whose corpus it is"
    )


@contextmanager
def _working_on(config: Config, output: str | None, wait: float) -> Iterator[Progress]:
    """Hold the lease of the model's run while parts are written into the store; a folder of one's own has none."""
    if output is not None:
        yield ConsoleProgress()
        return
    with store_to_fill(config.store) as store, held(store, run_lease(config.model_alias), wait) as progress:
        yield progress


@click.command()
@config_argument(required=True)
@store_option(required=False)
@click.option(
    "--output",
    type=click.Path(file_okay=False),
    help="Local folder for the parts; by default `annotated` in a local store, needed with a remote one.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes.")
@on_error_option
@wait_option
@dry_run_option
def command(
    config_path: str,
    store_url: str | None,
    output: str | None,
    workers: int | None,
    on_error: str | None,
    wait: float,
    dry_run: bool,
) -> None:
    """Label the config's plain text with spaCy and write it as an ordinary CoNLL-U corpus.

    UPOS, XPOS, morphology, dependencies and entities, in parts that are finished one by one: starting again goes on
    with the missing ones. Parts that go into the store are written by one command at a time.
    """
    config = with_settings(read_config(config_path, store_url), "corpus", {"on_error": on_error})
    if config.annotate is None:
        config = config.model_copy(update={"annotate": AnnotateConfig()})
    if workers:
        config = config.model_copy(update={"executor": config.executor.model_copy(update={"workers": workers})})
    folder = parts_folder(config, output)
    if dry_run:
        say([f"would label {', '.join(source.path for source in config.corpus.sources)} into {folder}"])
        return
    with _working_on(config, output, wait) as progress:
        corpus = annotate_into(config, folder, progress)
    say([f"wrote {corpus.sources[0].path} (format: conllu)", f"next: neuronmill plan {shlex.quote(config_path)}"])
