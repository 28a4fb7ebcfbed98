-- cluster_pairs: two neurons of the largest clusters at one threshold, whatever their correlation, once: all pairs among
-- the first members (the representative, then those most like the rest, 50 at most) of the first of the 40 largest
-- clusters that have 200 neurons together
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, neuron, linkage, signed, threshold, other_component, other_layer,
--     other_neuron, r
-- example row: 3f… | minilm | resid | 1 | 63 | average | false | 0.3 | resid | 4 | 7 | -0.21
SELECT
    run_id,
    model,
    component,
    layer,
    neuron,
    linkage,
    signed,
    threshold,
    other_component,
    other_layer,
    other_neuron,
    r
FROM read_parquet({files}, hive_partitioning = false)
