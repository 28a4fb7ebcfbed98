-- correlation_edges: two neurons of a model whose activations are correlated at least as much as was asked for, once
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, neuron, other_component, other_layer, other_neuron, r
-- example row: 3f… | minilm | resid | 1 | 63 | resid | 2 | 63 | 0.93
SELECT
    run_id,
    model,
    component,
    layer,
    neuron,
    other_component,
    other_layer,
    other_neuron,
    r
FROM read_parquet({files}, hive_partitioning = false)
