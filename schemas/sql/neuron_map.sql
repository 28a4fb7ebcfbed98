-- neuron_map: one neuron on the map of neurons by their correlations with all others (Meyes et al. 2020)
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, neuron, x, y, map_group, method, params
-- example row: 3f… | minilm | mlp | 3 | 63 | 4.1 | -2.3 | 7 | kmeans | {{"seed": 0}}
SELECT
    run_id,
    model,
    component,
    layer,
    neuron,
    x,
    y,
    map_group,
    method,
    params
FROM read_parquet({files}, hive_partitioning = false)
