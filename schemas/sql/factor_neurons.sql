-- factor_neurons: one neuron with a weight above 0 in one factor. Key: run_id, component, layer, factor, neuron
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, factor, rank, neuron, weight, neuron_share
-- example row: 3f… | minilm | mlp | 3 | 0 | 1 | 63 | 0.31 | 0.8
SELECT
    run_id,
    model,
    component,
    layer,
    factor,
    rank,
    neuron,
    weight,
    neuron_share
FROM read_parquet({files}, hive_partitioning = false)
