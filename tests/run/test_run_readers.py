"""Readers in a loop while another process dumps, analyses, publishes and compacts: no error, nothing in part."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import duckdb
from tiny_run import Finished, plan_only

from pipeline.store import Manifest, Store
from pipeline.store.publish import current_snapshot, snapshot_id
from pipeline.store.sql import run_user_sql

#: Everything that moves the manifest or CURRENT, again and again: other concepts take the rankings out of sight.
_WRITER = """
import sys
from itertools import count
from pipeline.run.compact import compact
from pipeline.run.dump import dump
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.neuron_search import search
from pipeline.run.planning import plan_run
from pipeline.run.plans import load_plan
from pipeline.run.progress import Silent
from pipeline.run.statistics import compute_statistics
from pipeline.store import Store
from pipeline.store.publish import publish

store, work = Store.open(sys.argv[1]), (LocalExecutor(), Silent())
first = load_plan(store)
upos, early, long = first.config.concepts.include
for number, rows in zip(count(), (0, 400, 1000, 10**6)):
    include = (upos, (early, long)[number % 2])
    config = first.config.model_copy(update={"concepts": first.config.concepts.model_copy(update={"include": include})})
    plan = plan_run(config, store, *work)
    dump(plan, store, *work)
    if rows:
        compact(plan, store, *work, rows)
    publish(store)
    compute_statistics(plan, store, *work)
    search(plan, store, *work)
    publish(store)
"""

_ACTIVATIONS = """
    SELECT layer, count(*) AS n, count(DISTINCT row_id) AS n_distinct, count(t.row_id) AS n_tokens,
        count(r.row_id) AS n_rows
    FROM activations_mlp a LEFT JOIN tokens t USING (row_id) LEFT JOIN rows r USING (row_id)
    GROUP BY layer ORDER BY layer
"""
_RANKINGS = """
    SELECT method, count(*) AS n, count(DISTINCT (concept, rank)) AS n_distinct, count(DISTINCT concept) AS n_concepts,
        count(DISTINCT k.concept) AS n_known
    FROM rankings LEFT JOIN (SELECT concept FROM concepts) k USING (concept) GROUP BY method ORDER BY method
"""
_LABELS = """
    SELECT (SELECT count(*) FROM labels) AS n, (SELECT sum(n_rows)::BIGINT FROM concepts) AS n_counted,
        (SELECT count(*) FROM labels JOIN rows USING (row_id)) AS n_joined
"""


def ask(store: Store, sql: str) -> list[dict[str, int]]:
    sink = io.BytesIO()
    run_user_sql(store, sql, sink, output_format="json")
    return json.loads(sink.getvalue())


def check_activations(found: list[dict[str, int]], n_rows: int) -> bool:
    """All layers with all rows, each with its token and row, or none at all; whether they are there."""
    expected = {"n": n_rows, "n_distinct": n_rows, "n_tokens": n_rows, "n_rows": n_rows}
    assert found in ([], [{"layer": layer} | expected for layer in (1, 2)])
    return bool(found)


def check_rankings(found: list[dict[str, int]], n_neurons: int) -> bool:
    """Every method ranks every neuron for every concept of the table `concepts`, or there are no rankings."""
    for method in found:
        assert method["n"] == method["n_distinct"] == method["n_concepts"] * n_neurons
        assert method["n_known"] == method["n_concepts"]
    assert len({method["n"] for method in found}) <= 1
    return bool(found)


class Reader:
    """Opens the store anew each time, as other processes do, and counts what it has seen."""

    def __init__(self, found: Finished) -> None:
        capture = found.plan.capture
        self.url, self.n_rows = found.store.url, found.plan.n_rows
        self.n_neurons = sum(capture.widths[component] for component, _ in capture.targets)
        self.seen: Counter[str] = Counter()
        self.manifests: set[int] = set()
        self.snapshots: set[str] = set()

    def look(self) -> None:
        """Ask everything once."""
        store = Store.open(self.url)
        self.manifests.add(store.manifest().number)
        self.seen["activations"] += check_activations(ask(store, _ACTIVATIONS), self.n_rows)
        self.seen["rankings"] += check_rankings(ask(store, _RANKINGS), self.n_neurons)
        (labels,) = ask(store, _LABELS)
        assert labels["n"] == labels["n_counted"] == labels["n_joined"]
        (statistics,) = ask(store, "SELECT count(*) AS n FROM neuron_stats")
        assert statistics["n"] in (0, self.n_neurons)
        self._read_files(store.pinned())
        self._read_snapshot(store)

    def _read_files(self, store: Store) -> None:
        """The files that the manifest names, by the reader: every row once."""
        reader = store.activation_reader()
        files = store.files("activations", component="mlp", layer=1)
        row_ids = [row for file in files for row in reader.row_ids(file).tolist()]
        assert sorted(row_ids) in ([], list(range(self.n_rows)))

    def _read_snapshot(self, store: Store) -> None:
        """What CURRENT names, with DuckDB alone."""
        snapshot = current_snapshot(store)
        if snapshot is None:
            return
        self.snapshots.add(snapshot)
        folder = Path(self.url) / "snapshots" / snapshot
        manifest = Manifest.from_json((folder / "manifest.json").read_bytes(), "manifest.json")
        assert snapshot_id(manifest) == snapshot
        with duckdb.connect(str(folder / "neuronmill.duckdb"), read_only=True) as connection:
            (about,) = connection.execute("SELECT text FROM about WHERE topic = 'snapshot'").fetchone()
            (n_statistics,) = connection.execute("SELECT count(*) FROM neuron_stats").fetchone()
            n_rows = connection.execute(
                "SELECT DISTINCT count(*) FROM activations_mlp(?) JOIN rows(?) USING (row_id) GROUP BY layer",
                [self.url, self.url],
            ).fetchall()
            rankings = connection.execute(_RANKINGS).fetchdf().to_dict("records")
        assert about == snapshot
        assert n_rows == [(self.n_rows,)]
        assert n_statistics == sum(file.n_rows for file in manifest.files("neuron_stats")) in (0, self.n_neurons)
        assert check_rankings(rankings, self.n_neurons) == bool(manifest.files("rankings"))


def test_readers_never_see_a_part_of_anything(inputs, tmp_path):
    sections = {"dump": {"rows_per_shard": 200}, "search": {"keep": "all", "methods": ["ap", "iou"]}}
    found = plan_only(inputs.config(tmp_path / "store", **sections))
    reader = Reader(found)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with (tmp_path / "log").open("wb") as log:
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, found.store.url], env=environment, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 120
        while writer.poll() is None and time.monotonic() < deadline:
            reader.look()
    finally:
        if writer.poll() is None:
            os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert writer.returncode == 0, (tmp_path / "log").read_text()
    reader.look()
    assert reader.seen["activations"] > 3
    assert reader.seen["rankings"] > 3
    assert len(reader.manifests) > 3
    assert len(reader.snapshots) > 3
