"""Numbers of words: what a neuron can be correlated with beside concepts.

Every number of every aligned row is found once per shard and stays in the store; NaN where a word has none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.run.array_file import open_arrays, save_arrays
from pipeline.run.corpus_record import load_corpus_record
from pipeline.run.member_rows import Member, MemberReader
from pipeline.run.plan_record import ShardPlan
from pipeline.run.progress import Progress
from pipeline.store.paths import state_file
from pipeline.store.store import Store
from schemas.errors import ConfigError
from schemas.fingerprints import fingerprint

#: Raised whenever the same words would have other numbers.
VERSION = 1
#: Numbers that every word has: characters, place in the sentence from 0, ln(occurrences of the form in the corpus).
BUILT_IN = ("length", "position", "frequency")
#: Values of a label layer that say that a word has none.
NO_VALUE = frozenset({"", "_"})

Floats = npt.NDArray[np.float64]


def numbers_stage(member: Member, names: Sequence[str]) -> str:
    """Stage name of the receipts."""
    digest = fingerprint(kind="numbers of words", version=VERSION, member=member.identity, names=list(names))
    return f"numbers-{member.plan.run_id}-{digest[:12]}"


def check_names(store: Store, names: Sequence[str]) -> None:
    """Raise :class:`ConfigError` for a name that is no number of words here, or is given twice."""
    layers = load_corpus_record(store).summary.layers
    for name in names:
        if name not in BUILT_IN and name not in layers:
            known = ", ".join([*BUILT_IN, *sorted(layers)])
            raise ConfigError(f"correlate.columns: {name!r} is no number of words here; there are {known}")
        if names.count(name) > 1:
            raise ConfigError(f"correlate.columns: {name!r} is named twice; name each column once")


def find_numbers(store: Store, member: Member, names: Sequence[str], progress: Progress) -> str:
    """Leave the numbers (K, U) of the member's rows, shard by shard; returns the stage of their receipts.

    Raises :class:`ConfigError` where a layer's values are no numbers.
    """
    check_names(store, names)
    stage, shards = numbers_stage(member, names), member.plan.shards
    finished = store.receipts(stage)
    missing = [shard for shard in shards if shard.key not in finished]
    progress.start("numbers of words", len(shards), "shards", len(shards) - len(missing))
    counts = _counts(store) if missing and "frequency" in names else None
    reader = MemberReader(member)
    found = {}
    for shard in missing:
        words = _read(store, shard, names)
        columns = [_numbers(words, name, counts) for name in names]
        numbers = pd.DataFrame(dict(enumerate(columns))).set_index(words["word_id"].to_numpy())
        found[shard] = numbers.reindex(reader.units[shard].words).to_numpy(np.float64).T
    for shard, values in found.items():  # all of them are numbers
        with store.staging() as staging:
            path = state_file(member.plan.run_id, f"{stage}/{shard.key}.npz")
            save_arrays(staging.path(path), {"values": np.ascontiguousarray(values)})
            store.commit(staging, stage, shard.key)
        progress.advance(1)
    progress.finish(", ".join(names))
    return stage


def load_numbers(store: Store, stage: str, shard: ShardPlan) -> Floats:
    """The numbers (K, U) of one shard's rows; NaN where a word has none."""
    receipt = store.receipts(stage, shard.key)[shard.key]
    with open_arrays(store, receipt.files[0].path) as file:
        values: Floats = file["values"]
    return values


def _read(store: Store, shard: ShardPlan, names: Sequence[str]) -> pd.DataFrame:
    layers = [name for name in names if name not in BUILT_IN]
    columns = list(dict.fromkeys(["word_id", "position", "word", *layers]))
    found: pd.DataFrame = store.read_table(store.files("words", shard=shard.shard), columns).to_pandas()
    return found


def _counts(store: Store) -> pd.Series[int]:
    """Occurrences of every form in the corpus, all splits."""
    total: pd.Series[int] = pd.Series(dtype=np.int64)
    for entry in store.files("words"):
        words = store.read_table([entry], ["word"]).to_pandas()["word"]
        total = total.add(words.value_counts(), fill_value=0)
    return total


def _numbers(words: pd.DataFrame, name: str, counts: pd.Series[int] | None) -> Floats:
    """The numbers of a shard's words."""
    if name == "length":
        return words["word"].str.len().to_numpy().astype(np.float64)
    if name == "position":
        return words["position"].to_numpy().astype(np.float64)
    if name == "frequency" and counts is not None:
        return np.log(counts.reindex(words["word"]).to_numpy(np.float64))
    values = words[name].astype(object)
    known = {value: _number(name, value) for value in values.dropna().unique()}
    return values.map(known).to_numpy(np.float64)


def _number(name: str, value: str) -> float:
    """One value of a label layer; NaN where it stands for none."""
    if value in NO_VALUE:
        return float("nan")
    try:
        number = float(value)
    except ValueError:
        number = float("inf")
    if np.isinf(number):
        raise ConfigError(
            f"correlate.columns: {name!r} has the value {value!r}, which is no finite number; name a layer of numbers "
            "(an empty value, `_` and `nan` say that a word has none)"
        )
    return number
