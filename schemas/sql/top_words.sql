-- top_words: one word that is among the highest or lowest of one neuron on average
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, neuron, tail, rank, word, score, mean, standard_error, n_words,
--     neuron_mean, shrinkage
-- example row: 3f… | minilm | mlp | 3 | 63 | top | 1 | three | 2.9 | 3.5 | 0.11 | 48 | 0.1 | 8.3
SELECT
    run_id,
    model,
    component,
    layer,
    neuron,
    tail,
    rank,
    word,
    score,
    mean,
    standard_error,
    n_words,
    neuron_mean,
    shrinkage
FROM read_parquet({files}, hive_partitioning = false)
