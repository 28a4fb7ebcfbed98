"""Ten million rows: planned, dumped, verified and queried, in thousands of shards.

    python -m benchmarks.scale [--rows 10000000] [--rows-per-shard 4096] [--folder DIR]

stories260K, `resid` of all layers (6 × 64 neurons), over copies of MASC under distinct document ids. Each step is a
command of its own, as a scheduler would start it; printed are its seconds and peak memory. The queries are timed in one
warm connection. `--folder` keeps the store.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.inputs import MASC, STORIES, line_config, sentence_texts, show, write_lines
from benchmarks.watched import folder_bytes, median_seconds, neuronmill
from pipeline.run.plans import load_plan
from pipeline.store.sql import connect
from pipeline.store.store import Store

QUERIES = {
    "count rows": "SELECT count(*) FROM rows",
    "mean of a neuron": "SELECT avg(n0007) FROM activations_resid WHERE layer = 3",
    "mean over one shard's rows": "SELECT avg(n0007) FROM activations_resid WHERE layer = 3 AND row_id < 4096",
    "mean of a neuron by concept": "SELECT concept, avg(n0007) FROM activations_resid JOIN labels USING (row_id) "
    "WHERE layer = 3 GROUP BY concept",
}


def copies_needed(texts: list[str], rows: int) -> int:
    """Copies of the corpus for about so many rows; stories260K has about one token per 1.9 characters of MASC."""
    return max(1, round(rows / (sum(map(len, texts)) / 1.9)))


def steps(config: Path, store: str) -> None:
    commands = {
        "plan": ("plan", str(config), "--no-pilot"),
        "dump": ("dump", "--store", store),
        "dump again (nothing to do)": ("dump", "--store", store),
        "status": ("status", "--store", store, "--stage", "dump"),
        "verify": ("verify", "--store", store),
        "stats": ("stats", "--store", store),
        "search": ("search", "--store", store),
        "publish": ("publish", "--store", store),
        "compact": ("compact", "--store", store),
    }
    for name, arguments in commands.items():
        took = neuronmill(*arguments)
        print(f"{name:36} {took.seconds:8.1f} s {took.driver_bytes / 1e6:10,.0f} MB", flush=True)
        if name in ("publish", "compact"):
            queries(store)


def queries(url: str) -> None:
    store = Store.open(url)
    start = time.perf_counter()
    with connect(store) as connection:
        files = len(store.files("activations"))
        print(f"{'  connect':36} {time.perf_counter() - start:8.2f} s, {files:,} activation files", flush=True)
        for name, query in QUERIES.items():
            seconds = median_seconds(lambda query=query: connection.execute(query).fetchall(), 3)
            print(f"{'  ' + name:36} {seconds:8.3f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=STORIES)
    parser.add_argument("--corpus", default=MASC)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rows-per-shard", type=int, default=4096)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(exist_ok=True)
        texts = sentence_texts(options.corpus)
        lines = write_lines(texts, folder / "sentences.txt", copies_needed(texts, options.rows))
        config = line_config(
            lines,
            folder / "store",
            options.model,
            dump={"components": ["resid"], "rows_per_shard": options.rows_per_shard},
            concepts={"include": [{"name": "capitalised", "regex": "[A-Z].*"}, {"name": "digits", "regex": "[0-9]+"}]},
        )
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
        steps(path, config.store)
        store = Store.open(config.store)
        plan = load_plan(store)
        manifest = max((folder / "store" / "manifest").iterdir())
        show(
            {
                "rows, shards, layers": f"{plan.n_rows:,}, {len(plan.shards):,}, {len(plan.capture.targets)}",
                "manifest": f"{manifest.stat().st_size / 1e6:.1f} MB",
                "store": f"{folder_bytes(folder / 'store') / 1e9:.2f} GB",
            }
        )


if __name__ == "__main__":
    main()
