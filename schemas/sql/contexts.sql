-- contexts: one extreme row of one neuron with its surroundings
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, neuron, tail, rank, row_id, value, document_id,
--     sentence_id, word_id, words, values, focus
-- example row: 3f… | minilm | mlp | 3 | 63 | top | 1 | 45 | 4.25 | 0 | 7 | 31 | [Three, people, came, .] | [4.25, 0.1, 0.0, -0.1] | 0
SELECT
    run_id,
    model,
    component,
    layer,
    neuron,
    tail,
    rank,
    row_id,
    value,
    document_id,
    sentence_id,
    word_id,
    words,
    "values",
    focus
FROM read_parquet({files}, hive_partitioning = false)
