"""Dump speed: words and tokens per second, against the bare forward pass and the way people do it today.

    python -m benchmarks.dump [--corpus FILES] [--sentences 2000] [--threads 1 2] [--rounds 3]

Measured in turn, round by round, on the same sentences with the same model (MiniLM-L6) in one process, for each number
of compute threads:

bare       the forward pass alone on the dump's own batches: the limit of any dump
dump       all layers of resid and mlp captured, written as Parquet, committed with receipts, by the executor
capture    the forward pass with all rows captured, nothing written: its CPU seconds
encode     the writing alone, of rows that are there already: its CPU seconds
loop       one sentence at a time with output_hidden_states, to numpy, nothing stored (hidden states only, no mlp)

The dump's sides are there twice: computed in float32 and stored as float16, and computed and stored in bfloat16.

Loading the model is left out on all sides. With one compute thread the writer has the other core to itself. With as
many threads as cores it takes from the computing what it needs: the limit is then bare ÷ (bare + encode) in CPU
seconds. Medians of all rounds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from benchmarks.inputs import LEE, MINILM, line_config, planned, sentence_texts, show, write_lines
from benchmarks.limits import disk_rate, touch_rate
from pipeline.extract.batching import batches_of, model_inputs
from pipeline.run.dump import DumpWorker, read_sequences
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.plan_record import Plan
from pipeline.run.work import Outcome
from pipeline.store.store import Store
from schemas.errors import IncompleteError
from schemas.locations import resolve_location

ROWS_PER_SHARD = 4096


@dataclass(frozen=True)
class OpenJob:
    """A job whose worker is open already: what it takes to load the model is no part of a rate."""

    worker: DumpWorker

    def open(self) -> DumpWorker:
        """The worker."""
        return self.worker


class Side:
    """One planned dump, open: its worker, and the sequences of all shards."""

    def __init__(
        self, lines: Path, folder: Path, model: str, threads: int, compute: str, dtype: str, cut: dict[str, Any]
    ) -> None:
        config = line_config(
            lines,
            folder / f"store-{compute}-{dtype}-{threads}",
            model,
            dump={**cut, "dtype": dtype},
            model={"compute_dtype": compute},
            executor={"threads": threads},
        )
        self.store: Store
        self.plan: Plan
        self.store, self.plan = planned(config)
        self.worker = DumpWorker(self.store, self.plan)
        self.sequences = [read_sequences(self.store, self.plan, shard) for shard in self.plan.shards]
        self.n_bytes = self.n_padded = 0
        self._round = 0

    def next_round(self) -> None:
        """A stage and a folder of its own for what is written next; what was written before goes."""
        shutil.rmtree(Path(self.store.url) / "activations", ignore_errors=True)
        self._round += 1
        self.worker.plan = replace(self.plan, run_id=f"bench{self._round}", model=f"bench{self._round}")

    def dump(self) -> float:
        """Seconds of the whole dump by the executor."""
        self.next_round()
        outcomes: list[Outcome] = []
        start = time.perf_counter()
        LocalExecutor().run(OpenJob(self.worker), self.plan.shards, outcomes.append)
        seconds = time.perf_counter() - start
        if errors := [outcome.error for outcome in outcomes if outcome.error]:
            raise IncompleteError(errors[0])
        self.n_bytes = sum((outcome.facts or {})["n_bytes"] for outcome in outcomes)
        return seconds

    def bare(self) -> tuple[float, float]:
        """Seconds, and CPU seconds, of the forward pass alone on the dump's batches."""
        loaded = self.worker.extractor.loaded
        budget, pad = self.plan.capture.token_budget, loaded.info.pad_token_id
        packing = self.plan.capture.packing
        batches = [batch for s in self.sequences for batch in batches_of(s, budget, pad, packing=packing)]
        start, cpu = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            for batch in batches:
                loaded.module(**model_inputs(loaded, batch))
        self.n_padded = sum(batch.input_ids.numel() for batch in batches)
        return time.perf_counter() - start, time.process_time() - cpu

    def capture_and_encode(self) -> tuple[float, float]:
        """CPU seconds of capturing the rows of every shard, and of writing them."""
        self.next_round()
        capture = encode = 0.0
        for shard, sequences in zip(self.plan.shards, self.sequences, strict=True):
            start = time.process_time()
            rows = self.worker.extractor.capture(sequences)
            captured = time.process_time()
            self.worker.commit(shard, rows, {}, time.monotonic(), Event())
            capture, encode = capture + captured - start, encode + time.process_time() - captured
        return capture, encode

    def measure(self) -> dict[str, float]:
        """One round of all that this side has."""
        bare, bare_cpu = self.bare()
        dump = self.dump()
        capture, encode = self.capture_and_encode()
        return {"bare": bare, "bare cpu": bare_cpu, "dump": dump, "capture cpu": capture, "encode cpu": encode}


def sentence_loop(texts: list[str], model: str, threads: int) -> float:
    """Seconds of the usual loop: one sentence, all hidden states, to numpy."""
    folder = resolve_location(model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    module = AutoModel.from_pretrained(folder).eval()
    torch.set_num_threads(threads)
    start = time.perf_counter()
    with torch.inference_mode():
        for text in texts:
            encoded = tokenizer(text, return_tensors="pt", truncation=True)
            for states in module(**encoded, output_hidden_states=True).hidden_states:
                states[0].numpy().copy()
    return time.perf_counter() - start


def measure(
    texts: list[str], lines: Path, folder: Path, model: str, threads: int, rounds: int, cut: dict[str, Any]
) -> None:
    sides = {
        stored: Side(lines, folder, model, threads, compute, stored, cut)
        for compute, stored in (("float32", "float16"), ("bfloat16", "bfloat16"))
    }
    found: dict[str, list[dict[str, float]]] = {stored: [] for stored in sides}
    loop: list[float] = []
    for _ in range(rounds):
        for stored, side in sides.items():
            found[stored].append(side.measure())
        loop.append(sentence_loop(texts, model, threads))
    plan = sides["float16"].plan
    n_words = sum(shard.n_words for shard in plan.shards)
    seconds = statistics.median(loop)
    print(f"\n-- {threads} compute threads of {os.cpu_count()} cores")
    amounts = f"{sum(s.n_sentences for s in plan.shards):,}, {n_words:,}, {plan.n_rows:,}, {len(plan.shards)}"
    show({"sentences, words, rows, shards": amounts, "loop: words/s": f"{n_words / seconds:,.0f}"})
    for stored, side in sides.items():
        median = {name: statistics.median(one[name] for one in found[stored]) for name in found[stored][0]}
        facts = report(side, median, folder) | {"dump ÷ loop": f"{seconds / median['dump']:.2f}"}
        show({f"{stored} {name}": fact for name, fact in facts.items()})


def report(side: Side, median: dict[str, float], folder: Path) -> dict[str, str]:
    plan = side.plan
    n_words = sum(shard.n_words for shard in plan.shards)
    widths = [plan.capture.n_neurons(component) for component, _ in plan.capture.targets]
    n_values = plan.n_rows * sum(widths)
    ratio = median["bare"] / median["dump"]
    limit = median["bare cpu"] / (median["bare cpu"] + median["encode cpu"])
    disk, touch = disk_rate(folder), touch_rate(plan.shards[0].n_rows, max(widths))
    cores = os.cpu_count() or 1
    # with nothing to write, with nothing to compute: whichever takes longer, and on all cores together
    least = max(median["bare"], (median["bare cpu"] + 2 * n_values / touch) / cores, side.n_bytes / disk)

    def rates(name: str) -> str:
        return f"{plan.n_rows / median[name]:,.0f}, {n_words / median[name]:,.0f}"

    return {
        "bare: rows/s, words/s": rates("bare"),
        "dump: rows/s, words/s": rates("dump"),
        "padded tokens ÷ rows": f"{side.n_padded / plan.n_rows:.2f}",
        "dump ÷ bare": f"{ratio:.3f}",
        "seconds: bare, dump": f"{median['bare']:.2f}, {median['dump']:.2f}",
        "CPU s: bare, capture, encode": f"{median['bare cpu']:.2f}, {median['capture cpu']:.2f}, "
        f"{median['encode cpu']:.2f}",
        "bare ÷ (bare + encode), CPU s": f"{limit:.3f}; the dump reaches {ratio / limit:.0%} of it",
        "bytes per value": f"{side.n_bytes / n_values:.3f}",
        "written": f"{side.n_bytes / 1e6:,.0f} MB at {side.n_bytes / median['dump'] / 1e6:,.0f} MB/s; limits: disk "
        f"{disk / 1e6:,.0f}, copying and hashing on one core {touch / 1e6:,.0f} MB/s",
        "share of these limits": f"{least / median['dump']:.0%} (computing, encoding and disk, {cores} cores)",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default=LEE, help="any corpus neuronmill reads; the Lee news corpus by default")
    parser.add_argument("--model", default=MINILM)
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows-per-shard", type=int, default=ROWS_PER_SHARD)
    parser.add_argument("--no-packing", action="store_true", help="every sentence has a line of its batch to itself")
    parser.add_argument("--token-budget", type=int, help="padded tokens of a batch")
    options = parser.parse_args()
    cut = {"rows_per_shard": options.rows_per_shard, "token_budget": options.token_budget}
    if options.no_packing:
        cut["packing"] = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = sentence_texts(options.corpus, options.sentences)
        lines = write_lines(texts, folder / "sentences.txt")
        for threads in options.threads:
            measure(texts, lines, folder, options.model, threads, options.rounds, cut)


if __name__ == "__main__":
    main()
