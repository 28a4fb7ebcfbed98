-- activations_block: one block of up to 4,096 neurons of one component, every layer, shard and model of the same width
-- inputs: {files}, the list of the block's Parquet files by the manifest
-- output columns: row_id, n0000 … (the block's neurons), model, component, layer, block (from the path)
-- example row: 45 | 0.25 | -1.5 | … | minilm | mlp | 3 | 0
read_parquet({files}, hive_partitioning = true,
    hive_types = {'model': VARCHAR, 'component': VARCHAR, 'layer': INTEGER, 'block': INTEGER})
