"""`neuronmill verify`: check every file of a store against its records, and repair what is broken."""

from __future__ import annotations

import shlex
import time
from typing import Any

import click

from jobs.console import ConsoleProgress, say
from jobs.held_store import held
from jobs.options import choose_executor, dry_run_option, executor_options, store_option, wait_option
from pipeline.run.executors import make_executor
from pipeline.run.plan_check import check_plans, readable_plans
from pipeline.run.progress import Progress
from pipeline.run.repair import RepairReport, broken_pieces, repair
from pipeline.run.retokenise import check_tokens
from pipeline.run.work import Executor
from pipeline.store.lease import ALONE
from pipeline.store.problems import Problem
from pipeline.store.set_aside import put_all_back
from pipeline.store.store import Store
from pipeline.store.verify import verify
from schemas.amounts import counted, human_bytes, human_seconds
from schemas.config import ExecutorConfig

HELP = """Check that a store holds what its records say, every byte of it.

Receipts, manifest and snapshots can be read and agree with each other and with the plan, shard by shard. Every file
they list is there and has the recorded size, SHA-256 and number of rows. Documents, sentences, words and rows are
numbered without gaps, tokens and labels point to rows that are there, every activation is finite. A sample of
sentences, tokenised again, gives the stored tokens; where the tokenizer's files are gone, that is said and counts
for nothing.

--repair does the pieces again whose files are missing, cut off or changed, by the code that made them: shards of
the corpus from the corpus files, activations from the model, the rest from the store. A file is replaced only by
one with the recorded checksum; intact files are not touched. What cannot be done again (the corpus files or the
model are gone) is named with the reason. A repair works alone: while a command works on the store it refuses, or
waits with --wait. --repair --dry-run checks the store, and lists what would be done again.

Exit codes: 0 all is well, or is after the repair; 1 problems are left, one line each; 2 there is no such store.
"""


@click.command(help=HELP)
@store_option()
@click.option("--repair", "is_repair", is_flag=True, help="Do what is broken again, and nothing else.")
@click.option(
    "--sample",
    default=200,
    show_default=True,
    type=click.IntRange(min=0),
    help="Sentences, chosen by hash, that are tokenised again and compared with the stored tokens.",
)
@executor_options
@wait_option
@dry_run_option
@click.pass_context
def command(
    context: click.Context,
    /,
    store_url: str,
    is_repair: bool,
    sample: int,
    wait: float,
    dry_run: bool,
    **placement: Any,
) -> None:
    """See HELP."""
    store = Store.open(store_url)
    if dry_run and not is_repair:
        say([f"would check every file of {store.url}"])
        return
    if is_repair and not dry_run:
        with held(store, ALONE, wait) as progress:
            is_well = _repair(store, sample, placement, progress)
    else:
        is_well = _report(store, sample, is_repair)
    if not is_well:
        context.exit(1)


def _report(store: Store, sample: int, is_repair: bool) -> bool:
    """Say what is wrong, and what a repair would do; whether all is well."""
    problems, summary = _check(store, sample)
    say(str(problem) for problem in problems)
    if not problems:
        say([summary])
    elif is_repair:
        pieces = broken_pieces(problems)
        say(f"would do again: {piece}" for piece in pieces)
        say([f"{counted(len(problems), 'problem')}, {counted(len(pieces), 'piece')}"])
    else:
        repair_it = f"neuronmill verify --store {shlex.quote(store.url)} --repair"
        say([f"{counted(len(problems), 'problem')}; `{repair_it}` mends what it can"])
    return not problems


def _repair(store: Store, sample: int, placement: dict[str, Any], progress: Progress) -> bool:
    """Check, and do again what is broken; whether all is well then."""
    put_all_back(store.storage)
    problems, summary = _check(store, sample)
    say(str(problem) for problem in problems)
    if not problems:
        say([summary])
        return True
    report = repair(store, problems, _executor(store, placement), progress)
    _say_repaired(store, report)
    return not report.failed


def _check(store: Store, sample: int) -> tuple[list[Problem], str]:
    """All problems, and the line that is said if there are none."""
    progress, seen, started = ConsoleProgress(), [0, 0], time.monotonic()

    def watch(n_done: int, n_total: int, n_bytes: int) -> None:
        if seen[0] == 0:
            progress.start("verify", n_total, "files")
        progress.advance(n_done - seen[0], n_bytes=n_bytes - seen[1])
        seen[:] = [n_done, n_bytes]

    problems = verify(store, watch)
    seconds = time.monotonic() - started
    rate = f"{human_bytes(seen[1])} in {human_seconds(seconds)}, {human_bytes(seen[1] / max(seconds, 1e-9))}/s"
    known = {problem.path for problem in problems}
    problems += [problem for problem in check_plans(store) if problem.path not in known]
    tokens = ""
    if not problems:
        found = check_tokens(store, sample)
        problems += found.problems
        say(found.notes)
        tokens = f"; {counted(found.n_sentences, 'sentence')} tokenised again" if found.n_sentences else ""
    return problems, f"{store.url}: {counted(seen[0], 'file')} ({rate}), all as their receipts say{tokens}"


def _executor(store: Store, placement: dict[str, Any]) -> Executor:
    """Where repairs run: as the command line says, then as the first plan does."""
    plans, _ = readable_plans(store)
    if plans:
        return choose_executor(plans[0].config, **placement)[1]
    return make_executor(ExecutorConfig())


def _say_repaired(store: Store, report: RepairReport) -> None:
    say(f"repaired: {path}" for path in report.redone)
    say(f"removed: {path} (of earlier settings, and nothing refers to it)" for path in report.removed)
    say(f"not repaired: {path}: {why}" for path, why in report.failed.items())
    n_left = len(report.failed)
    what = f"{counted(len(report.redone), 'piece')} done again, {n_left} left"
    say([f"{store.url}: {what}" + ("" if n_left else ", all is well")])
