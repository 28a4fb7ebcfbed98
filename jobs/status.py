"""`neuronmill status`: how far a store's runs are, from outside."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from jobs.console import say
from jobs.options import dry_run_option, model_option, store_option
from pipeline.run.status import RunStatus, StageStatus, StoreStatus, read_status
from pipeline.store.store import Store
from schemas.amounts import counted, human_bytes, human_seconds

STAGES = ("plan", "label", "dump", "stats", "search", "contexts", "publish")
_FAILURES_SHOWN = 5
_COLUMNS = "{:<9} {:>17} {:<9} {:>13} {:>9} {:>13} {:>7}  {}"
_CLEAR = "\x1b[H\x1b[2J"


@click.command()
@store_option()
@model_option
@click.option(
    "--stage",
    "stages",
    type=click.Choice(STAGES),
    multiple=True,
    help="Stages that the exit code and --watch are about, any number of times; all by default.",
)
@click.option(
    "--watch",
    "seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Show it again every so many seconds, until it is complete.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Text for people, or one JSON object a time for programs.",
)
@dry_run_option
@click.pass_context
def command(
    context: click.Context,
    store_url: str,
    alias: str | None,
    stages: tuple[str, ...],
    seconds: float | None,
    output_format: str,
    dry_run: bool,
) -> None:
    """Show how far a store's runs are: pieces done, rows, bytes, rates, failures, and who is working.

    Reads what other processes leave, takes no lock and writes nothing, so it can be called at any time, from any
    machine that reaches the store. Rates are over the last five minutes (or the last ten pieces), and from the first
    piece to the last. A stage is complete once all of its pieces are done and its table is made.

    Exits 0 when all stages are complete, 1 while something is missing: `neuronmill status --stage dump …` in a script
    waits for the dump only.
    """
    store = Store.open(store_url)
    if dry_run:
        say([f"would read how far {store.url} is"])
        return
    while True:
        status = read_status(store, alias)
        is_complete = status.complete(stages)
        if seconds is not None and output_format == "table" and sys.stdout.isatty():
            say([_CLEAR])
        say([json.dumps(plain(status, is_complete))] if output_format == "json" else describe(status))
        sys.stdout.flush()
        if is_complete or seconds is None:
            break
        time.sleep(seconds)
    context.exit(0 if is_complete else 1)


def describe(status: StoreStatus) -> list[str]:
    """The status as lines of text."""
    lines = [f"store {status.store}"]
    for run in status.runs:
        lines += _describe_run(run)
    if not status.runs:
        lines.append("nothing is planned here yet: `neuronmill plan CONFIG.yaml`")
    if status.snapshot is None:
        lines.append("snapshot: none is published")
    else:
        newer = "" if status.publish.complete else "; the store has newer tables: `neuronmill publish`"
        lines.append(f"snapshot: {status.snapshot}{newer}")
    lines += [
        f"working: {work.command}, process {work.process} on {work.host}, since {work.started} (lease {work.lease})"
        for work in status.working
    ]
    if not status.working:
        lines.append("nobody is working")
    return lines


def _describe_run(run: RunStatus) -> list[str]:
    lines = ["", f"run {run.run_id} ({run.model})" if run.run_id else "a plan is being made"]
    lines.append(_COLUMNS.format("stage", "done", "", "rows", "bytes", "rate", "left", "last activity").rstrip())
    for stage in run.stages:
        lines.append(_COLUMNS.format(*_cells(stage)).rstrip())
        lines += [
            f"  failed: {found.key} (attempt {found.attempts}, {found.at}): {found.error}"
            for found in stage.failures[:_FAILURES_SHOWN]
        ]
        if len(stage.failures) > _FAILURES_SHOWN:
            lines.append(f"  … and {counted(len(stage.failures) - _FAILURES_SHOWN, 'more failure')}")
        if stage.sample is not None and stage.sample.n_retried:
            n_read = counted(stage.sample.n_read, "shard")
            lines.append(f"  more than one attempt: {stage.sample.n_retried} of {n_read}")
    return [*lines, ""]


def _cells(stage: StageStatus) -> tuple[str, ...]:
    of = "" if stage.total is None else f"/{stage.total:,}"
    state = "complete" if stage.complete else stage.unit
    rows = "" if stage.n_rows is None else f"{stage.n_rows:,}"
    n_bytes = "" if stage.sample is None else _about(stage.sample.is_estimate) + human_bytes(stage.sample.n_bytes)
    speed = stage.pace.overall if stage.complete else stage.pace.recent
    what = "neurons" if stage.unit == "neurons" else "rows"
    rate = "" if not speed else f"{speed:,.0f} {what}/s"
    left = "" if stage.seconds_left is None else human_seconds(stage.seconds_left)
    return stage.stage, f"{stage.done:,}{of}", state, rows, n_bytes, rate, left, _time(stage.pace.last) or ""


def _about(is_estimate: bool) -> str:
    return "≈ " if is_estimate else ""


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plain(status: StoreStatus, is_complete: bool) -> dict[str, Any]:
    """The status as plain JSON data; rates are per second, `last_activity` is UTC.

    `recent_rate` of a complete stage is null: what is over has no pace.
    """
    return {
        "store": status.store,
        "complete": is_complete,
        "snapshot": status.snapshot,
        "is_published": status.publish.complete,
        "runs": [
            {"run_id": run.run_id, "model": run.model, "stages": [_plain_stage(stage) for stage in run.stages]}
            for run in status.runs
        ],
        "working": [asdict(work) for work in status.working],
    }


def _plain_stage(stage: StageStatus) -> dict[str, Any]:
    sample = stage.sample
    return {
        "stage": stage.stage,
        "done": stage.done,
        "total": stage.total,
        "unit": stage.unit,
        "complete": stage.complete,
        "n_rows": stage.n_rows,
        "n_bytes": None if sample is None else sample.n_bytes,
        "n_bytes_is_estimate": None if sample is None else sample.is_estimate,
        "n_retried": None if sample is None else sample.n_retried,
        "recent_rate": stage.pace.recent,
        "overall_rate": stage.pace.overall,
        "seconds_left": stage.seconds_left,
        "last_activity": _time(stage.pace.last),
        "failures": [asdict(found) for found in stage.failures],
    }
