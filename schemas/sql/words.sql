-- words: one word; one further string column per label layer of the corpus (`upos`, `xpos`, `feat_Number`,
-- `entity`, …)
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: word_id, sentence_id, document_id, position, word, start, end, split (then one column per
--     label layer)
-- example row: 31 | 7 | 0 | 0 | Three | 0 | 5 | train | NUM
SELECT *
FROM read_parquet({files}, hive_partitioning = false)
