-- tokens: one token of one model's tokenisation, in the order the model saw them
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: row_id, document_id, sentence_id, word_id, window, position, token_id, token, start, end,
--     is_special
-- example row: 45 | 0 | 7 | 31 | 0 | 1 | 2093 | three | 0 | 5 | false
SELECT
    row_id,
    document_id,
    sentence_id,
    word_id,
    "window",
    position,
    token_id,
    token,
    "start",
    "end",
    is_special
FROM read_parquet({files}, hive_partitioning = false)
