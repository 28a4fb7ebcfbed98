"""Agreement of the published rankings with scikit-learn on the values read back through SQL.

    python -m benchmarks.agreement --store STORE [--pairs 200]

Takes random rows of `rankings` (methods ap and auroc, train and held-out scores), reads the neuron's column and the
concept's rows back through DuckDB, and compares with `average_precision_score` and `roc_auc_score`. Prints the largest
differences and scikit-learn's pairs per second. Exits with 1 where a difference exceeds 1e-9.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.store.sql import connect
from pipeline.store.store import Store

ORACLES = {"ap": average_precision_score, "auroc": roc_auc_score}
SAMPLE = """
    SELECT method, model, component, layer, neuron, concept, sign, split, score, heldout_score FROM rankings
    WHERE method IN ('ap', 'auroc') AND score IS NOT NULL
    ORDER BY hash(concept || component || layer || neuron || method) LIMIT $n
"""


def read_back(connection: Any, row: dict[str, Any], split: str) -> tuple[np.ndarray, np.ndarray]:
    """The neuron's values and the concept's mask over the counted rows of a split."""
    found = connection.execute(
        f"SELECT a.n{row['neuron']:04d} AS x, l.row_id IS NOT NULL AS y FROM activations_{row['component']} a "
        "JOIN rows r USING (row_id) LEFT JOIN (SELECT row_id FROM labels WHERE concept = $concept) l USING (row_id) "
        "WHERE a.model = $model AND a.layer = $layer AND r.is_counted AND ($split = 'all' OR r.split = $split)",
        {"concept": row["concept"], "model": row["model"], "layer": row["layer"], "split": split},
    ).fetchnumpy()
    return found["x"].astype(np.float64), found["y"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--pairs", type=int, default=200)
    options = parser.parse_args()
    worst: dict[str, float] = defaultdict(float)
    n_compared, spent = 0, 0.0
    with connect(Store.open(options.store)) as connection:
        names = (
            "method",
            "model",
            "component",
            "layer",
            "neuron",
            "concept",
            "sign",
            "split",
            "score",
            "heldout_score",
        )
        sample = connection.execute(SAMPLE, {"n": options.pairs}).fetchall()
        for row in (dict(zip(names, values, strict=True)) for values in sample):
            for split, score in ((row["split"], row["score"]), ("test", row["heldout_score"])):
                if score is None:
                    continue
                values, mask = read_back(connection, row, split)
                start = time.perf_counter()
                expected = ORACLES[row["method"]](mask, row["sign"] * values)
                spent += time.perf_counter() - start
                n_compared += 1
                which = f"{row['method']}, {'held-out' if split == 'test' else split}"
                worst[which] = max(worst[which], abs(expected - score))
    for which, difference in sorted(worst.items()):
        print(f"{which:20} largest difference {difference:.1e}")
    print(f"{n_compared} scores compared; scikit-learn {n_compared / spent:,.0f} scores/s")
    sys.exit(max(worst.values()) > 1e-9)


if __name__ == "__main__":
    main()
