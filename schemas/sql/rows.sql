-- rows: one row of the activation tables, same rows in the same order; a token, a word or a sentence
-- according to the unit
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: row_id, document_id, sentence_id, word_id, split, is_special, is_counted
-- example row: 45 | 0 | 7 | 31 | train | false | true
SELECT
    row_id,
    document_id,
    sentence_id,
    word_id,
    split,
    is_special,
    is_counted
FROM read_parquet({files}, hive_partitioning = false)
