"""Repair: what verification found broken is done again, and nothing else.

A receipt whose files are damaged is set aside, its piece of work is done again by the code that made it, and the
receipt comes back once the files have the checksums that it records. Work that gives other bytes now is refused: the
store keeps its receipt, and the file stays named as damaged. Receipts that cannot be read are written anew by their
work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from pipeline.run.analyses import Analysis, analyses
from pipeline.run.dump_files import compact_stage, dump_stage, scales_stage
from pipeline.run.labelling import label, planned_concepts
from pipeline.run.plan_check import readable_plans
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.repair_pieces import (
    redo_compacted,
    redo_corpus,
    redo_dump,
    redo_labels,
    redo_quarantine,
    redo_rows,
    redo_scales,
)
from pipeline.run.reregister import reregister
from pipeline.run.work import Executor
from pipeline.store import paths
from pipeline.store.problems import Problem
from pipeline.store.receipts import Receipt
from pipeline.store.repair_records import correct_receipt, renew_manifest, repair_snapshot
from pipeline.store.set_aside import aside_receipt, drop_aside, is_aside, leave_nothing, put_back, set_aside
from pipeline.store.store import Store
from pipeline.store.verify_file import check_file
from pipeline.store.vouchers import Vouchers, read_vouchers
from schemas.errors import NeuronmillError

#: Rules of problems that no writing of the same bytes ends: the files are as recorded.
_NOT_OF_BYTES = frozenset({"plan", "token"})


@dataclass
class RepairReport:
    """What a repair came to."""

    redone: list[str] = field(default_factory=list)
    """Receipts whose pieces were done again, and records that were written again."""
    removed: list[str] = field(default_factory=list)
    """Receipts of pieces that nothing refers to any more and nothing makes any more; gone with their damaged files."""
    failed: dict[str, str] = field(default_factory=dict)
    """Receipts and records that could not be repaired, and why."""


def broken_pieces(problems: Iterable[Problem]) -> list[str]:
    """What a repair of these problems would do again: paths of receipts, manifests and snapshots."""
    pieces = {path for problem in problems for path in problem.receipts or (_record_of(problem),)}
    return sorted(pieces, key=paths.natural_key)


def _record_of(problem: Problem) -> str:
    """What has to be written again for a file that no receipt lists: its snapshot, or the manifest; or itself."""
    parts = problem.path.split("/")
    if parts[0] == paths.SNAPSHOTS and len(parts) > 1:
        return paths.snapshot_folder(parts[1])
    return problem.path if problem.rule in _NOT_OF_BYTES or problem.path == paths.CURRENT_FILE else paths.MANIFESTS


def repair(store: Store, problems: Sequence[Problem], executor: Executor, progress: Progress) -> RepairReport:
    """Do the broken pieces again, in the order in which they depend on each other."""
    report = RepairReport()
    report.redone.extend(renew_manifest(store))
    for problem in problems:
        if problem.rule == "receipt":
            store.storage.delete(problem.path)  # torn: there is nothing in it to compare with
    corrected = {p.path for p in problems if p.rule == "conflict" and p.receipts and correct_receipt(store, p.path)}
    report.redone.extend(sorted(corrected))
    pieces = [path for path in broken_pieces(problems) if path not in corrected]
    plans, _ = readable_plans(store)
    work = _Repair(store, plans, executor, progress, report, [path for path in pieces if _is_receipt(path)])
    work.untrusted = {problem.path for problem in problems if problem.rule == "plan" and problem.receipts}
    if any(problem.rule == "plan" for problem in problems):
        # a table of shards made from a plan that others contradict would be wrong, too
        report.failed |= dict.fromkeys(
            {paths.MANIFESTS} & set(pieces), "a plan and what is there contradict each other"
        )
    elif paths.MANIFESTS in pieces or report.redone:
        work.register()
    work.redo_shards()
    work.redo_analyses()
    work.give_up_rest()
    for path in pieces:
        if path.startswith(f"{paths.SNAPSHOTS}/"):
            work.attempt([path], partial(repair_snapshot, store, path.split("/")[1]))
        elif path == paths.CURRENT_FILE:
            report.failed[path] = f"delete it, then `neuronmill publish --store {store.url}`"
        elif not _is_receipt(path) and path != paths.MANIFESTS:
            report.failed[path] = "nothing else in the store holds what it should say; bring it back from a copy"
    leave_nothing(store.storage)
    return report


def _is_receipt(path: str) -> bool:
    return path.startswith(f"{paths.RECEIPTS}/")


class _Repair:
    """The broken receipts that are left, and the ways to do them again."""

    def __init__(
        self,
        store: Store,
        plans: Sequence[Plan],
        executor: Executor,
        progress: Progress,
        report: RepairReport,
        receipts: Sequence[str],
    ) -> None:
        self.store, self.plans, self.executor, self.progress, self.report = store, plans, executor, progress, report
        self.left = list(receipts)
        self.untrusted: set[str] = set()
        """Receipts that contradict the plan: those that the work writes now replace them."""

    def register(self) -> None:
        """Put what is finished into the manifest again."""
        for plan in self.plans:
            self.attempt([paths.MANIFESTS], partial(self._register, plan))

    def _register(self, plan: Plan) -> None:
        reregister(self.store, plan, self.executor, self.progress)

    def redo_shards(self) -> None:
        """Corpus first, then what is made of it."""
        store, executor, progress = self.store, self.executor, self.progress
        if not self.left:
            return
        if keys := self._take("corpus"):
            receipts = read_vouchers(store.storage).receipts.values()
            facts = {receipt.key: receipt.facts for receipt in receipts if receipt.stage == "corpus"}
            self._redo("corpus", keys, lambda: redo_corpus(store, self.plans, keys, facts, progress))
        if keys := self._take("quarantine"):
            self._redo("quarantine", keys, lambda: redo_quarantine(store, self.plans))
        for plan in self.plans:
            self._shards(f"rows-{plan.row_space}", partial(redo_rows, store, plan, progress=progress))
        for plan in self.plans:
            # before the dump, which goes by them
            self._shards(scales_stage(plan), partial(redo_scales, store, plan, executor=executor, progress=progress))
        for plan in self.plans:
            self._shards(dump_stage(plan), partial(redo_dump, store, plan, executor=executor, progress=progress))
            compacted = partial(redo_compacted, store, plan, executor=executor, progress=progress)
            self._shards(compact_stage(plan), compacted)
        for plan in self.plans if self.left else ():
            concept_set = planned_concepts(plan, store)
            self._shards(concept_set.stage, partial(redo_labels, store, plan, executor=executor, progress=progress))
            if keys := self._take(f"concepts-{plan.row_space}", {concept_set.id}):
                stage = f"concepts-{plan.row_space}"
                self._redo(stage, keys, partial(label, plan, store, executor, progress))

    def _shards(self, stage: str, redo: Callable[[Sequence[str]], None]) -> None:
        if keys := self._take(stage):
            self._redo(stage, keys, lambda: redo(keys))

    def redo_analyses(self) -> None:
        """Statistics, searches, contexts and the tables of runs, by the settings that they were made with."""
        for plan in self.plans:
            for analysis in analyses(plan, self.store):
                if not self.left:
                    return
                self._analysis(analysis)

    def _analysis(self, analysis: Analysis) -> None:
        chosen = [path for path in self.left if analysis.makes(path)]
        if chosen:
            self.left = [path for path in self.left if path not in chosen]
            self._redo_paths(chosen, lambda: analysis.run(self.executor, self.progress))

    def give_up_rest(self) -> None:
        """Pieces that nothing here makes: those that no manifest and no snapshot lists go, the others are named."""
        vouchers = read_vouchers(self.store.storage)
        listed = {entry.path for entry in vouchers.manifest.entries()}
        listed |= {entry.path for manifest in vouchers.snapshots.values() for entry in manifest.entries()}
        for path in self.left:
            receipt = vouchers.receipts.get(path)
            if receipt is not None and receipt.stage.startswith("import-"):
                self.report.failed[path] = "was imported; delete this receipt and start the same import again"
            elif receipt is None:
                self.report.failed[path] = "nothing that is planned here makes this piece; start what made it again"
            elif any(entry.path in listed for entry in receipt.files):
                self.report.failed[path] = (
                    "was made with settings that the store does not have any more, and is still listed; put those "
                    "settings back and start the command that made it again, or publish what is there now and remove "
                    "the old snapshot"
                )
            else:
                self._remove(path, receipt, vouchers)

    def _remove(self, path: str, receipt: Receipt, vouchers: Vouchers) -> None:
        others = {entry.path for source, entry in vouchers.entries() if source != path}
        self.store.storage.delete(path)
        for entry in receipt.files:
            if entry.path not in others:
                self.store.storage.delete(entry.path)
        self.report.removed.append(path)

    def _take(self, stage: str, among: set[str] | None = None) -> list[str]:
        """Keys of the broken receipts of a stage (those of ``among``), which then are no longer left."""
        folder = f"{paths.RECEIPTS}/{stage}/"
        found = {path: path.removeprefix(folder).removesuffix(".json") for path in self.left if path.startswith(folder)}
        keys = {path: key for path, key in found.items() if among is None or key in among}
        self.left = [path for path in self.left if path not in keys]
        return list(keys.values())

    def _redo(self, stage: str, keys: Sequence[str], action: Callable[[], object]) -> None:
        self._redo_paths([paths.receipt_file(stage, key) for key in keys], action)

    def _redo_paths(self, receipts: Sequence[str], action: Callable[[], object]) -> None:
        """Set receipts aside, do their work, put them back; nothing stays aside, whatever happens."""
        storage = self.store.storage
        try:
            for path in receipts:
                if storage.exists(path):
                    set_aside(storage, path)
            self.attempt(receipts, action)
        finally:
            for path in receipts:
                self._settle(path)

    def attempt(self, pieces: Sequence[str], action: Callable[[], object]) -> None:
        """Do ``action``; its error is the reason why ``pieces`` are not repaired."""
        try:
            action()
        except NeuronmillError as error:
            self.report.failed |= dict.fromkeys(pieces, str(error))
        else:
            self.report.redone.extend(pieces)

    def _settle(self, path: str) -> None:
        """Hold what a piece has now against what its receipt says; the receipt of old stays."""
        storage, report = self.store.storage, self.report
        new = Receipt.from_json(storage.read(path), path) if storage.exists(path) else None
        is_old = is_aside(storage, path)
        old: Receipt | None = aside_receipt(storage, path) if is_old else new
        is_better = old is not None and new is not None and path in self.untrusted and new.files == old.files
        if is_old:
            (drop_aside if is_better else put_back)(storage, path)
        entries = () if old is None else old.files
        damaged = [problem for entry in entries for problem in check_file(storage, entry).problems]
        if old is not None and new is not None and not damaged:
            # also where another piece of the same work has failed
            report.failed.pop(path, None)
            report.redone.extend([path] if path not in report.redone else [])
            return
        report.redone = [done for done in report.redone if done != path]
        if old is not None and new is not None and set(new.files) != set(old.files):
            report.failed[path] = "the same work gives other bytes now; do it where and with what wrote the rest"
            self._withdraw(old, new)
        elif damaged and new is None and path not in report.failed:
            self.left.append(path)  # another setting of the same analysis may give it
        else:
            report.failed.setdefault(path, str(damaged[0]) if damaged else "the work did not give this piece")

    def _withdraw(self, old: Receipt, new: Receipt) -> None:
        """Take files of other bytes out of the manifest and the store again.

        Only on remote stores, where a name says the content; a local store has refused them.
        """
        fresh = {entry.path for entry in new.files} - {entry.path for entry in old.files}
        for table, scopes in self.store.manifest().tables.items():
            for scope, entries in scopes.items():
                if any(entry.path in fresh for entry in entries):
                    kept = [entry for entry in entries if entry.path not in fresh]
                    mine = [entry for entry in old.files if entry.path.startswith(f"{table}/")]
                    self.store.advance(table, scope, [*kept, *mine])
        for path in fresh:
            self.store.storage.delete(path)
