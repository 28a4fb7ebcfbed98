-- clusters: one neuron in its cluster at one threshold. Key: run_id, linkage, signed, threshold, component, layer,
-- neuron
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, neuron, linkage, signed, threshold, cluster, size, n_layers,
--     mean_r, member_mean_r, is_representative
-- example row: 3f… | minilm | mlp | 3 | 63 | average | false | 0.3 | 12 | 4 | 2 | 0.81 | 0.84 | true
SELECT
    run_id,
    model,
    component,
    layer,
    neuron,
    linkage,
    signed,
    threshold,
    cluster,
    size,
    n_layers,
    mean_r,
    member_mean_r,
    is_representative
FROM read_parquet({files}, hive_partitioning = false)
