-- rankings: one neuron's place for one concept by one method; the contract of the project. Key: run_id,
-- model, component, layer, neuron, concept, method, params, partner
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, neuron, concept, method, score, sign, rank, threshold,
--     n_rows, n_pos, base_rate, p_value, q_value, heldout_score, unit, split, params, partner
-- example row: 3f… | minilm | mlp | 3 | 63 | upos=NUM | ap | 0.86 | 1 | 1 | null | 80211 | 1804 | 0.022 | …
SELECT
    run_id,
    model,
    component,
    layer,
    neuron,
    concept,
    method,
    score,
    sign,
    rank,
    threshold,
    n_rows,
    n_pos,
    base_rate,
    p_value,
    q_value,
    heldout_score,
    unit,
    split,
    params,
    partner
FROM read_parquet({files}, hive_partitioning = false)
