"""The corpus a run reads: the config's own, or its annotation, made inside the store first."""

from __future__ import annotations

from pathlib import Path

from pipeline.corpus.annotate import annotate
from pipeline.corpus.reader import Handler
from pipeline.run.progress import Progress
from pipeline.store.storage import LocalStorage
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.config import Config, CorpusConfig
from schemas.errors import ConfigError


def annotated_corpus(config: Config, store: Store, progress: Progress, quarantine: Handler) -> CorpusConfig:
    """Annotate if the config asks for it (finished parts are kept); the corpus to read from then on.

    The parts lie in the store's ``annotated/``. Raises :class:`ConfigError` for a remote store: taggers write local
    files.
    """
    if config.annotate is None:
        return config.corpus
    if not isinstance(store.storage, LocalStorage):
        raise ConfigError(
            f"annotate: the store {store.url} is remote, and annotation is written to a local folder; run "
            "`neuronmill annotate CONFIG.yaml --output DIR` first, then plan a config whose corpus is DIR"
        )
    folder = store.storage.folder / "annotated"
    return annotate_into(config, folder, progress, quarantine)


def annotate_into(config: Config, folder: Path, progress: Progress, quarantine: Handler | None = None) -> CorpusConfig:
    """Annotate the config's corpus into ``folder``; the config of the corpus that comes of it."""
    if config.annotate is None:
        raise ConfigError("annotate: the config has no `annotate` section; add one (`annotate: {}` takes the defaults)")
    progress.start("annotate", 0, "documents")
    seen = [0, 0]

    def watch(n_documents: int, n_words: int) -> None:
        progress.advance(n_documents - seen[0])
        seen[:] = [n_documents, n_words]

    corpus = annotate(
        config.corpus, config.annotate, folder, workers=config.executor.workers, progress=watch, quarantine=quarantine
    )
    progress.finish(f"{counted(seen[0], 'document')}, {counted(seen[1], 'word')}")
    return corpus
