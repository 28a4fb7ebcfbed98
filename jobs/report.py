"""`neuronmill report`: write the HTML page."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryFile

import click

from jobs.console import say
from jobs.options import config_argument, dry_run_option, find_plan, model_option, store_option
from pipeline.report.page import render_report
from pipeline.report.report_data import load_report_data
from pipeline.store.sql import connect
from pipeline.store.storage import LocalStorage
from pipeline.store.store import Store
from schemas.amounts import human_bytes
from schemas.config import Config
from schemas.errors import ConfigError


def report_path(config: Config, store: Store) -> Path:
    """Where the page goes: ``report.path``, else ``report.html`` in a local store."""
    if config.report.path:
        return Path(config.report.path)
    if isinstance(store.storage, LocalStorage):
        return store.storage.folder / "report.html"
    raise ConfigError(f"report.path: the store {store.url} is remote; name a local file for the page (--output)")


def check_can_write(path: Path, way_out: str = "report.path, --output") -> None:
    """Raise :class:`ConfigError` if no file can be written to ``path``: asked before the work, not after it."""
    folder = path.parent.absolute()
    there = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    reason = None if there.is_dir() else f"{there} is no folder"
    if reason is None:
        try:
            with TemporaryFile(dir=there):
                reason = "a folder is in its place" if path.is_dir() else None
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):  # a full disk may have room by then
                reason = f"{there}: {error.strerror}"
    if reason is not None:
        raise ConfigError(f"report {str(path)!r} cannot be written ({reason}); give another path ({way_out})")


def write_report(store: Store, config: Config, run_id: str, path: Path) -> Path:
    """Load what the page shows and write it."""
    settings = config.report
    with connect(store) as connection:
        data = load_report_data(
            connection,
            run_id=run_id,
            neurons_per_concept=settings.neurons_per_concept,
            contexts_per_neuron=settings.contexts_per_neuron,
            title=settings.title,
        )
    return render_report(data, path)


@click.command()
@config_argument(required=False)
@store_option(required=False)
@model_option
@click.option(
    "--output", type=click.Path(dir_okay=False), help="The file to write; by default report.html in the store."
)
@dry_run_option
def command(
    config_path: str | None, store_url: str | None, alias: str | None, output: str | None, dry_run: bool
) -> None:
    """Write one self-contained HTML page: best scores per concept and layer, neurons, contexts. No network needed."""
    store, plan = find_plan(config_path, store_url, alias)
    path = Path(output) if output else report_path(plan.config, store)
    if dry_run:
        say([f"would write {path}"])
        return
    check_can_write(path)
    page = write_report(store, plan.config, plan.run_id, path)
    say([f"wrote {page.resolve()} ({human_bytes(page.stat().st_size)})", "next: open it in a browser"])
