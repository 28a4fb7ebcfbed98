"""Fingerprints: which values decide a result, bits included, and nothing else.

A fingerprint is the SHA-256 of canonical JSON (sorted keys, no spaces). What enters each is spelled out here, so that
"would this change an activation?" has one place to look.

==================  ==================================================================================================
corpus              the sources' contents and splits, the reading options
row space           the corpus, its shards, the tokenizer and encoding, the unit, pooling and sample
run                 the model's alias, the row space, the weights, components, layers and neurons, dtypes, the rule of
                    sparse dumps, token budget and threads per worker
concepts            the corpus, the concepts' definitions, the row space
analysis            the run, the concepts, the analysis' own section
==================  ==================================================================================================

Never: the store's place, the number of workers, the executor, memory limits, paths of outputs.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


def fingerprint(**values: Any) -> str:
    """SHA-256 over canonical JSON of ``values``, 64 hex digits. Values must be plain JSON data."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def run_fingerprint(
    *,
    alias: str,
    row_space: str,
    weights_sha256: str,
    model: dict[str, Any],
    components: dict[str, dict[str, Any]],
    dtype: str,
    rule: str | None,
    token_budget: int,
    threads: int,
    device: str,
    packing: bool,
) -> str:
    """Fingerprint of a dump.

    ``alias``: the same model under two names is two runs, since a store keeps results by run. ``model`` holds compute
    dtype, random-weights seed, GGUF file and a decoder's start token; where the model lies does not count.
    ``components``: the layers of each, and what defines those that are not built in; their order counts.
    """
    return fingerprint(
        kind="run",
        alias=alias,
        row_space=row_space,
        weights_sha256=weights_sha256,
        model=model,
        components=list(components.items()),
        dtype=dtype,
        rule=rule,
        token_budget=token_budget,
        threads=threads,
        device=device,
        packing=packing,
    )
