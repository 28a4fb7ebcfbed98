"""A whole small run: a synthetic CoNLL-U corpus, a tiny random BERT, and the stages over them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tiny_models import save_model

from pipeline.run.dump import dump
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.neuron_contexts import contexts
from pipeline.run.neuron_search import search
from pipeline.run.plan_record import Plan
from pipeline.run.planning import plan_run
from pipeline.run.progress import Silent
from pipeline.run.statistics import compute_statistics
from pipeline.run.work import Executor
from pipeline.store.sql import connect
from pipeline.store.store import Store
from schemas.config import Config
from schemas.config_file import load_config

REPOSITORY = Path(__file__).resolve().parents[2]
#: Folders whose every file must have the same bytes however a run was executed.
DATA_FOLDERS = (
    "activations",
    "words",
    "rows",
    "tokens",
    "labels",
    "sentences",
    "documents",
    "neuron_stats",
    "rankings",
    "layer_bests",
    "contexts",
    "top_words",
    "factors",
    "factor_neurons",
    "factor_rows",
    "concepts",
)
_WORDS = {
    "DET": ("the", "a"),
    "NOUN": ("cat", "dog", "fig", "jackal", "zebra"),
    "VERB": ("bite", "chase", "hide", "like"),
    "ADJ": ("big", "cold", "fab"),
    "NUM": ("ace", "deuce"),
}
_PATTERNS = (
    ("DET", "NOUN", "VERB", "DET", "ADJ", "NOUN"),
    ("NUM", "NOUN", "VERB"),
    ("DET", "ADJ", "NOUN", "VERB", "NUM", "NOUN"),
    ("NOUN", "VERB"),
)
#: A word that only the last document of the training corpus has; the tokenizer makes it the letter `k` alone.
RARE_WORD = "k"


def write_corpus(folder: Path, n_train: int = 40, n_test: int = 20, seed: int = 0) -> tuple[Path, Path]:
    """`train.conllu` and `test.conllu`: three sentences a document, one of them long, a word without a token."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    files = []
    for split, n_documents in (("train", n_train), ("test", n_test)):
        lines: list[str] = []
        for document in range(n_documents):
            lines.append(f"# newdoc id = {split}-{document}")
            for number in range(3):
                pattern = _PATTERNS[rng.integers(len(_PATTERNS))]
                words = [(str(rng.choice(_WORDS[upos])), upos) for upos in pattern]
                if document == 5 and number == 1:
                    words *= 12  # longer than the model's 48 positions
                if document == 7 and number == 0:
                    words.insert(1, ("\u200d", "DET"))  # the tokenizer drops it
                if split == "train" and document == n_documents - 1 and number == 2:
                    words.insert(0, (RARE_WORD, "X"))
                lines += [f"# sent_id = {split}-{document}-{number}", *_rows([*words, (".", "PUNCT")]), ""]
        path = folder / f"{split}.conllu"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        files.append(path)
    return files[0], files[1]


def _rows(words: list[tuple[str, str]]) -> list[str]:
    rows = []
    for index, (word, upos) in enumerate(words, 1):
        number = "Number=Sing" if upos == "NOUN" else "_"
        rows.append("\t".join((str(index), word, word, upos, "_", number, "0", "root", "_", "_")))
    return rows


@dataclass(frozen=True)
class Inputs:
    """What a run reads: corpus files and a model folder."""

    train: Path
    test: Path
    model: Path

    def data(self, store: Path, **sections: dict[str, Any]) -> dict[str, Any]:
        """Config of a run into ``store`` as plain data; ``sections`` are merged into the defaults."""
        data: dict[str, Any] = {
            "store": str(store),
            "corpus": {
                "sources": [
                    {"path": str(self.train), "split": "train"},
                    {"path": str(self.test), "split": "test"},
                ]
            },
            "model": {"name": str(self.model), "device": "cpu"},
            "dump": {"rows_per_shard": 600, "token_budget": 128},
            "concepts": {
                "include": [
                    {"layer": "upos"},
                    {"regex": "[a-d].*", "name": "early"},
                    {"sql": "length(word) > 4", "name": "long"},
                ]
            },
            "search": {"keep": "all"},
            "contexts": {"k": 4, "window": 2},
            "executor": {"threads": 1},
        }
        for name, values in sections.items():
            data[name] = {**data.get(name, {}), **values}
        return data

    def config(self, store: Path, **sections: dict[str, Any]) -> Config:
        """The config itself."""
        return Config.model_validate(self.data(store, **sections))

    def config_file(self, path: Path, store: Path, **sections: dict[str, Any]) -> Path:
        """The config as a YAML file."""
        path.write_text(yaml.safe_dump(self.data(store, **sections)), encoding="utf-8")
        load_config(path)
        return path


def make_inputs(folder: Path) -> Inputs:
    """Corpus and model in ``folder``."""
    train, test = write_corpus(folder / "corpus")
    save_model(folder / "tiny", "bert", "wordpiece")
    return Inputs(train, test, folder / "tiny")


@dataclass(frozen=True)
class Finished:
    """A store after all stages."""

    store: Store
    plan: Plan


def plan_only(config: Config, executor: Executor | None = None) -> Finished:
    """Plan ``config`` into its store."""
    store = Store.create(config.store)
    return Finished(store, plan_run(config, store, executor or LocalExecutor(), Silent()))


def run_stages(config: Config, executor: Executor | None = None) -> Finished:
    """Plan, dump, statistics, search and contexts."""
    executor = executor or LocalExecutor()
    finished = plan_only(config, executor)
    for stage in (dump, compute_statistics, search, contexts):
        stage(finished.plan, finished.store, executor, Silent())
    return finished


@contextmanager
def tables(store: Store) -> Iterator[Tables]:
    """The store's tables, as a reader has them."""
    with connect(store) as connection:
        yield Tables(connection)


@dataclass(frozen=True)
class Tables:
    """Columns of queries as numpy arrays."""

    connection: Any

    def query(self, sql: str, *values: Any) -> dict[str, Any]:
        """Columns by name."""
        return self.connection.execute(sql, list(values)).df().to_dict("list")

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows as tuples."""
        return self.connection.execute(sql, list(values)).fetchall()

    def activations(self, component: str, layer: int, model: str = "tiny") -> tuple[Any, Any]:
        """Row ids int64 (T,) and values float64 (T, N) of all rows of one layer, by row id."""
        found = self.connection.execute(
            f"SELECT * EXCLUDE (model, layer) FROM activations_{component} "
            "WHERE model = ? AND layer = ? ORDER BY row_id",
            [model, layer],
        ).fetchnumpy()
        row_ids = np.asarray(found.pop("row_id"))
        return row_ids, np.stack([np.asarray(found[name], np.float64) for name in sorted(found)], axis=1)

    def labels(self, row_ids: Any) -> dict[str, Any]:
        """Mask (T,) per concept over these rows."""
        place = {row: index for index, row in enumerate(row_ids.tolist())}
        masks: dict[str, Any] = {}
        for row, concept in self.rows("SELECT row_id, concept FROM labels"):
            masks.setdefault(concept, np.zeros(len(row_ids), bool))[place[row]] = True
        return masks


def checksums(store: Path | str) -> dict[str, str]:
    """SHA-256 of every data file of a store, by relative path."""
    root = Path(store)
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in DATA_FOLDERS
        for path in sorted((root / name).rglob("*"))
        if path.is_file()
    }


def start_command(*arguments: str, log: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """`neuronmill ARGUMENTS` as a process of its own; what it says goes to ``log``."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs", *arguments],
            env=environment,
            stdout=stream,
            stderr=stream,
            cwd=REPOSITORY,
            start_new_session=True,
        )
    return process, log
