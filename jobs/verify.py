"""`neuronmill verify`: check every file of a store against its receipt."""

from __future__ import annotations

from collections.abc import Sequence

import click

from jobs.console import ConsoleProgress, say
from jobs.options import dry_run_option, store_option
from pipeline.store.store import Store
from pipeline.store.verify import Problem, verify


@click.command()
@store_option()
@dry_run_option
@click.pass_context
def command(context: click.Context, store_url: str, dry_run: bool) -> None:
    """Check that every file is there and matches its receipt: size, checksum, rows, row ids, finite values.

    Exits 0 when all is well, 1 with a line per problem otherwise.
    """
    store = Store.open(store_url)
    if dry_run:
        say([f"would check every file of {store.url}"])
        return
    progress, seen = ConsoleProgress(), [0]

    def watch(n_done: int, n_total: int) -> None:
        if seen[0] == 0:
            progress.start("verify", n_total, "files")
        progress.advance(n_done - seen[0])
        seen[0] = n_done

    problems = verify(store, watch)
    say(str(problem) for problem in problems)
    if problems:
        say(_advice(problems))
        context.exit(1)
    say([f"{store.url}: {seen[0]:,} files, all as their receipts say"])


def _advice(problems: Sequence[Problem]) -> list[str]:
    """How to get rid of the problems; what to do depends on whether a receipt lists the file."""
    receipts = {receipt for problem in problems for receipt in problem.receipts}
    unlisted = sum(not problem.receipts for problem in problems)
    lines = [f"{len(problems)} problems"]
    if receipts:
        lines.append(
            f"files with a receipt: delete the receipts named ({len(receipts)}) from the store and start the same "
            "run again; it redoes exactly those pieces of work"
        )
    if unlisted:
        lines.append(
            f"files that no receipt lists ({unlisted} of the problems): start the same run again, "
            "and `neuronmill publish` for a snapshot"
        )
    return lines
