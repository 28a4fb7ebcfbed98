-- documents: one document
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: document_id, document, source, split, labels, n_sentences, n_words
-- example row: 0 | news#1 | news.txt | train | {topic=sport} | 12 | 240
SELECT
    document_id,
    document,
    source,
    split,
    labels,
    n_sentences,
    n_words
FROM read_parquet({files}, hive_partitioning = false)
