"""The tables of a search."""

from __future__ import annotations

import pyarrow as pa

from schemas.table_schema import NEURON_KEY, Column, TableSchema

RANKINGS = TableSchema(
    "rankings",
    "one neuron's place for one concept by one method; the contract of the project. "
    "Key: run_id, model, component, layer, neuron, concept, method, params, partner",
    (
        *NEURON_KEY,
        Column("concept", pa.string(), "Concept; null in multi-model rows.", nullable=True),
        Column(
            "method",
            pa.string(),
            "`ap auroc iou best_iou f1 mi mean_diff probeless selectivity cohen_d welch_t pearson`; across models "
            "`maxcorr mincorr linreg svcca pwcca`.",
        ),
        Column(
            "score",
            pa.float64(),
            "The larger of method(x) and method(−x); across models |r|, R² or a weight; null where undefined.",
            nullable=True,
        ),
        Column(
            "sign",
            pa.int8(),
            "+1 or −1, the direction that attains the score (+1 on a tie); of `maxcorr` and `mincorr` the sign of r.",
        ),
        Column(
            "rank",
            pa.int32(),
            "Rank from 1 for this concept and method: score descending, then component, layer, neuron.",
        ),
        Column("threshold", pa.float64(), "Threshold on the scale of x, where the method has one.", nullable=True),
        Column("n_rows", pa.int64(), "Rows scored."),
        Column("n_pos", pa.int64(), "Rows the concept holds for; null in multi-model rows.", nullable=True),
        Column("base_rate", pa.float64(), "n_pos / n_rows.", nullable=True),
        Column(
            "p_value",
            pa.float64(),
            "Two-sided: tie-corrected AUROC z test, or the one that `params` names.",
            nullable=True,
        ),
        Column("q_value", pa.float64(), "Benjamini–Hochberg over the test's neurons × concepts.", nullable=True),
        Column(
            "heldout_score",
            pa.float64(),
            "Score on `test` with sign and threshold from train; null without one.",
            nullable=True,
        ),
        Column("unit", pa.string(), "`token`, `word` or `sentence`."),
        Column("split", pa.string(), "`train`, or `all` where there is no train split."),
        Column("params", pa.string(), "JSON object: pooling, alpha, rounding, … of the method."),
        Column(
            "partner",
            pa.string(),
            "In multi-model rows `model:component:layer:neuron` (`linreg`: `model`; `svcca`, `pwcca`: "
            "`model:component:layer`), else null. The model is `STORE::ALIAS` where its alias is not unique.",
            nullable=True,
        ),
    ),
)

LAYER_BESTS = TableSchema(
    "layer_bests",
    "the best neuron of one layer for one concept by one method, whether or not it is among the kept rankings",
    (
        *NEURON_KEY,
        Column("concept", pa.string(), "Concept."),
        Column("method", pa.string(), "Method."),
        Column("params", pa.string(), "As in `rankings`."),
        Column("score", pa.float64(), "Its score; null where undefined.", nullable=True),
        Column("sign", pa.int8(), "+1 or −1."),
    ),
)

NULL_CHECKS = TableSchema(
    "null_checks",
    "what a method finds for one concept, and what it finds once the labels are shuffled inside each sentence",
    (
        Column("run_id", pa.string(), "The run."),
        Column("model", pa.string(), "Alias of the model."),
        Column("concept", pa.string(), "Concept."),
        Column("method", pa.string(), "Method."),
        Column("params", pa.string(), "As in `rankings`."),
        Column("seed", pa.int64(), "Seed of the shuffle."),
        Column("n_neurons", pa.int64(), "Neurons with a score."),
        Column("best_score", pa.float64(), "Best score of all neurons.", nullable=True),
        Column("null_median", pa.float64(), "Median score of all neurons for shuffled labels.", nullable=True),
        Column("null_best", pa.float64(), "Best score of all neurons for shuffled labels.", nullable=True),
        Column("n_tested", pa.int64(), "Neurons with `q_value` < 0.01, the test of `rankings`.", nullable=True),
        Column(
            "n_tested_null",
            pa.int64(),
            "The same for shuffled labels: what that test finds where nothing is. Null, as further columns, where the "
            "concept holds for all rows of a sentence or none.",
            nullable=True,
        ),
        Column("n_above_null", pa.int64(), "Neurons whose score is above `null_best`.", nullable=True),
        Column(
            "n_survive",
            pa.int64(),
            "Neurons with q < 0.01 (Benjamini–Hochberg over the method's pairs) by rank among the scores of all "
            "neurons for shuffled labels; few neurons have no rank small enough, and then it is 0.",
            nullable=True,
        ),
    ),
)
