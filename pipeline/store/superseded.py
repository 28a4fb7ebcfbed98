"""Which receipts are of superseded analyses: results of earlier settings that nothing shows any more.

An analysis leaves parts (per range of neurons) and tables made of them. A table is superseded when no manifest in use
and no snapshot lists it, its parts when all tables made of them are. Labels, concepts, factors and the records of runs
are tables. What took a reading of the corpus or a forward pass to make (corpus, rows, activations, imports) never is.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from pipeline.store.paths import RECEIPTS
from pipeline.store.receipts import Receipt

_TABLES = (
    *("labels-", "concepts-", "neuron_stats-", "rankings-", "layer_bests-", "null_checks-", "top_words-"),
    *("explanations-", "factors-", "runs-", "shards-"),
    *("clusters-", "cluster_pairs-", "correlation_edges-", "redundancy-", "cluster_spans-", "shared_clusters-"),
    *("pca_spectrum-", "layer_dimensions-", "layer_similarity-", "match_nulls-", "column_correlations-", "neuron_map-"),
)
_PARTS = (
    *("stats-", "search-", "words-", "explain-"),
    *("aligned-", "tiles-", "norms-", "layers-", "pairs-", "linreg-", "numbers-", "columns-"),
)


def superseded_receipts(
    receipts: Mapping[str, Receipt], referred: AbstractSet[str], live_stages: AbstractSet[str] = frozenset()
) -> frozenset[str]:
    """Paths of the receipts of superseded analyses; ``referred`` are the files that manifests and snapshots list.

    ``live_stages``: stages (or keys of tables) that are kept whatever refers to them.
    """
    stale: set[str] = set()
    shown: set[str] = set()
    for path, receipt in receipts.items():
        if _is_table(receipt):
            is_shown = receipt.stage in live_stages or receipt.key in live_stages
            is_shown = is_shown or any(entry.path in referred for entry in receipt.files)
            if is_shown:
                shown.add(receipt.key)
            else:
                stale.add(path)
    for path, receipt in receipts.items():
        if _is_part(receipt) and receipt.stage not in live_stages and not _is_shown(receipt.stage, shown):
            stale.add(path)
    return frozenset(path for path in stale if path.startswith(f"{RECEIPTS}/"))


def _is_table(receipt: Receipt) -> bool:
    # a run's table of contexts is contexts-RUN, its parts are contexts-RUN-SETTINGS
    is_contexts = receipt.stage.startswith("contexts-") and receipt.stage.count("-") == 1
    return is_contexts or receipt.stage.startswith(_TABLES)


def _is_part(receipt: Receipt) -> bool:
    is_contexts = receipt.stage.startswith("contexts-") and receipt.stage.count("-") == 2
    return is_contexts or receipt.stage.startswith(_PARTS)


def _is_shown(stage: str, shown: AbstractSet[str]) -> bool:
    """Whether a table made of these parts is: its key is the stage, or has the stage's settings between dashes."""
    settings = stage.rpartition("-")[2]
    return stage in shown or any(f"-{settings}-" in key for key in shown)
