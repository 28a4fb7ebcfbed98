-- sparse_component: one stored value of one component that was dumped with mode topk or threshold; what is not here is 0
-- inputs: {files}, the list of the component's sparse Parquet files by the manifest
-- output columns: model, layer, row_id, neuron, value
-- example row: minilm | 3 | 45 | 421 | 2.25
SELECT model, layer, row_id, neuron, value
FROM read_parquet({files}, hive_partitioning = true,
    hive_types = {'model': VARCHAR, 'component': VARCHAR, 'layer': INTEGER, 'block': INTEGER})
