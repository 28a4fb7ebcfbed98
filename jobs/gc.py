"""`neuronmill gc`: remove what nothing in a store refers to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import click

from jobs.console import say
from jobs.held_store import held
from jobs.options import dry_run_option, store_option, wait_option
from pipeline.run.live_stages import live_stages, replaced_receipts
from pipeline.store.gc import Garbage, GcOptions, collect
from pipeline.store.lease import ALONE
from pipeline.store.store import Store
from schemas.amounts import counted, human_bytes

HELP = """Remove what nothing in a store refers to, and say how much that was.

\b
Removed:
  files of tables and activations that no receipt, manifest in use or snapshot lists (of killed commands)
  staging of processes that have ended, or, if another machine's, that nothing has touched for a day
  manifests other than the last ten that no reader can have opened within the grace period
  with --superseded: receipts and files of labels, statistics, searches, contexts, explanations, words,
    factors and correlations of earlier settings, and of activations that `neuronmill compact` has rewritten
    as long files
  with --keep-snapshots K: older snapshots

It works alone: while a command works on a run of the store it refuses, or waits with --wait.

Other activations, rows and corpus tables with a receipt are never removed. What is younger than the grace period
stays, because a command at work puts files in place before their receipt, and a reader that opened the store within
it keeps every file it may ask for. On a remote store keep the period longer than the longest commit of a shard.
What else lies in the folder (other files, links) is named and left alone. --dry-run lists everything that would go.
"""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_KINDS = {
    "orphan": ("file that nothing vouches for", "files that nothing vouches for"),
    "staging": ("left in staging by an ended process", "left in staging by ended processes"),
    "manifest": ("old manifest", "old manifests"),
    "superseded": ("receipt or file of superseded analyses", "receipts and files of superseded analyses"),
    "snapshot": ("file of old snapshots", "files of old snapshots"),
}


def _seconds(context: click.Context, parameter: click.Parameter, value: str) -> float:
    """`90s`, `30m`, `12h` or `1d` in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value)
    if match is None:
        raise click.BadParameter(
            f"{value!r} is no duration; give a number with s, m, h or d, such as 12h", context, parameter
        )
    return float(match[1]) * _UNITS[match[2]]


@click.command(help=HELP)
@store_option()
@click.option(
    "--older-than",
    default="1d",
    show_default=True,
    callback=_seconds,
    metavar="DURATION",
    help="Grace period: what was touched more recently stays. A number with s, m, h or d.",
)
@click.option(
    "--superseded",
    is_flag=True,
    help="Remove analyses of earlier settings, too, and activations that are in long files now, where no manifest and "
    "no snapshot shows them.",
)
@click.option(
    "--keep-snapshots",
    type=click.IntRange(min=1),
    metavar="K",
    help="Remove all but the last K snapshots; never the one that CURRENT names.",
)
@wait_option
@dry_run_option
def command(
    store_url: str, older_than: float, superseded: bool, keep_snapshots: int | None, wait: float, dry_run: bool
) -> None:
    """See HELP."""
    store = Store.open(store_url)
    options = GcOptions(older_than, superseded, keep_snapshots)
    if superseded:
        options = replace(options, live_stages=live_stages(store), replaced=replaced_receipts(store))
    with nullcontext() if dry_run else held(store, ALONE, wait):
        report = collect(store.storage, options, dry_run=dry_run)
    if dry_run:
        say(f"would remove {thing.path} ({thing.kind}, {human_bytes(thing.n_bytes)})" for thing in report.garbage)
    say(_summary(report.garbage, dry_run))
    if report.n_young:
        say([f"younger than the grace period, left alone: {counted(report.n_young, 'file')} that nothing vouches for"])
    say(f"not of this store, left alone: {name!a}" for name in report.foreign)


def _summary(garbage: Sequence[Garbage], dry_run: bool) -> list[str]:
    verb = "would remove" if dry_run else "removed"
    lines = []
    for kind, names in _KINDS.items():
        found = [thing for thing in garbage if thing.kind == kind]
        if found:
            lines.append(f"{verb} {counted(len(found), *names)}, {human_bytes(sum(thing.n_bytes for thing in found))}")
    total = human_bytes(sum(thing.n_bytes for thing in garbage))
    return [*lines, f"{verb} {len(garbage):,} in all, {total}" if lines else "nothing to remove"]
