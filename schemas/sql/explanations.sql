-- explanations: one neuron with the formula over concepts whose rows are most like those where it is active. Key:
-- run_id, component, layer, neuron, sign
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, neuron, sign, formula, length, iou, score, heldout_iou, threshold,
--     n_rows, n_active, n_formula, n_both, concepts, operands, operand_shares, senses, is_polysemous, unit, split, params
-- example row: 3f… | minilm | mlp | 3 | 63 | 1 | upos=NUM AND NOT long | 2 | 0.61 | 0.6 | 0.58 | 1.25 | 8000 | 40 | 41 | 31 | [upos=NUM, long] | [upos=NUM AND NOT long] | [1.0] | [upos=NUM AND NOT long] | false | token | train | {{"alpha": 0.005}}
SELECT
    run_id,
    model,
    component,
    layer,
    neuron,
    sign,
    formula,
    length,
    iou,
    score,
    heldout_iou,
    threshold,
    n_rows,
    n_active,
    n_formula,
    n_both,
    concepts,
    operands,
    operand_shares,
    senses,
    is_polysemous,
    unit,
    split,
    params
FROM read_parquet({files}, hive_partitioning = false)
