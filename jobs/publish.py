"""`neuronmill publish`: freeze what is finished as a snapshot for other readers."""

from __future__ import annotations

import shlex

import click

from jobs.console import say
from jobs.held_store import held
from jobs.options import dry_run_option, store_option, wait_option
from pipeline.store.publish import publish, snapshot_id
from pipeline.store.store import Store


@click.command()
@store_option()
@wait_option
@dry_run_option
def command(store_url: str, wait: float, dry_run: bool) -> None:
    """Write an immutable snapshot and point CURRENT to it.

    It is a list of files, and a DuckDB file with rankings, statistics and contexts as tables.

    Readers need nothing of neuronmill: `duckdb STORE/snapshots/ID/neuronmill.duckdb`.
    """
    store = Store.open(store_url)
    if dry_run:
        say([f"would publish snapshot {snapshot_id(store.manifest())} of {store.url}"])
        return
    with held(store, "publish", wait):
        snapshot = publish(store)
    say(
        [
            f"published {store.url}/snapshots/{snapshot} (CURRENT)",
            f"next: duckdb {shlex.quote(f'{store.url}/snapshots/{snapshot}/neuronmill.duckdb')} -c 'FROM about'",
        ]
    )
