-- match_nulls: the null of one neuron's score across models. Its line in `rankings` has the same run_id, model,
-- component, layer, neuron, method and params
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, neuron, method, params, null_score
-- example row: 3f… | minilm | mlp | 3 | 63 | maxcorr | {"null_max": 0.06, …} | 0.04
SELECT
    run_id,
    model,
    component,
    layer,
    neuron,
    method,
    params,
    null_score
FROM read_parquet({files}, hive_partitioning = false)
