"""A small import: an array with planted neurons, and the table of its rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.run.importing import ImportRequest, import_activations
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Silent
from pipeline.store.store import Store

#: Names that must stay text: quotes, right to left, a path, SQL, and one of 10 kB.
HOSTILE = ('say "hi"', "\u202eמילה", "../../etc/passwd", "'; DROP TABLE words; --", "long" * 2500)


@dataclass(frozen=True)
class Case:
    """Rows in documents of three sentences, and values of ``n_neurons``; neuron 2 detects `planted`, −3 upos=NUM."""

    values: NDArray[np.float64]
    table: dict[str, list[str]]

    @property
    def planted(self) -> NDArray[np.bool_]:
        """Mask of the concept `planted`."""
        return np.array(self.table["planted"]) == "1"

    def save(self, folder: Path, dtype: Any = np.float32) -> tuple[Path, Path]:
        """`X.npy` and `L.tsv` in ``folder``."""
        np.save(folder / "X.npy", self.values.astype(dtype))
        return folder / "X.npy", write_tsv(folder / "L.tsv", self.table)


def write_tsv(path: Path, table: dict[str, list[str]]) -> Path:
    """A table as TSV."""
    lines = ["\t".join(row) for row in zip(*table.values(), strict=True)]
    path.write_text("\n".join(["\t".join(table), *lines]) + "\n", encoding="utf-8")
    return path


def make_case(n_rows: int = 300, n_neurons: int = 6, seed: int = 0) -> Case:
    """The rows and values."""
    rng = np.random.default_rng(seed)
    sentence = np.cumsum(rng.random(n_rows) < 0.2)
    document = sentence // 3
    starts = np.searchsorted(sentence, sentence)
    planted = rng.random(n_rows) < 0.15
    upos = rng.choice(["NOUN", "VERB", "O", "_", ""], n_rows).tolist()
    number = rng.choice(n_rows, n_rows // 10, replace=False)
    for row in number:
        upos[row] = "NUM"
    values = rng.normal(size=(n_rows, n_neurons))
    values[planted, 2] += 2.5
    values[number, -3] -= 4.0
    table = {
        "document": [f"d {d}" for d in document],
        "sentence": [f"s{s}" for s in sentence],
        "position": [str(2 * i) for i in np.arange(n_rows) - starts],
        "word": [HOSTILE[i] if i < len(HOSTILE) else f"w{i}" for i in range(n_rows)],
        "planted": ["1" if p else "0" for p in planted],
        "upos": upos,
        'a "b" ../\u202e': ["1" if i < 40 else "" for i in range(n_rows)],
        "tag": [HOSTILE[i % len(HOSTILE)] for i in range(n_rows)],
    }
    return Case(values, table)


def run_import(store: Path, *paths: Path, **options: Any) -> Plan:
    """Import into ``store`` as mlp 3 of `mine`, with other options where given."""
    request = ImportRequest(tuple(map(str, paths)), "mine", "mlp", (3,))
    return import_activations(replace(request, **options), Store.create(str(store)), LocalExecutor(), Silent())
