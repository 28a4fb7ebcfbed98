-- shards: one finished shard of one run
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, shard, first_row, n_rows, n_sentences, n_tokens, n_words_without_token,
--     n_split_sentences, n_truncated_sentences, n_bytes, n_files, n_values, n_clipped, attempt,
--     seconds, token_budget
-- example row: 3f… | minilm | 0 | 0 | 40105 | 1290 | 40105 | 0 | 0 | 0 | 1.2e9 | 13 | null | null | 1 | 9.4 | 2048
SELECT
    run_id,
    model,
    shard,
    first_row,
    n_rows,
    n_sentences,
    n_tokens,
    n_words_without_token,
    n_split_sentences,
    n_truncated_sentences,
    n_bytes,
    n_files,
    n_values,
    n_clipped,
    attempt,
    seconds,
    token_budget
FROM read_parquet({files}, hive_partitioning = false)
