-- layer_bests: the best neuron of one layer for one concept by one method, whether or not it is among the kept
-- rankings
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, neuron, concept, method, params, score, sign
-- example row: 3f… | minilm | mlp | 3 | 63 | upos=NUM | ap | {{"label_on": "all"}} | 0.86 | 1
SELECT
    run_id,
    model,
    component,
    layer,
    neuron,
    concept,
    method,
    params,
    score,
    sign
FROM read_parquet({files}, hive_partitioning = false)
