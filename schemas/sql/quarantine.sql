-- quarantine: one sentence that could not be used and was skipped (`--on-error skip`)
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: source, line, rule, excerpt
-- example row: news.txt | 17 | undecodable bytes | Three \xff people …
SELECT
    source,
    line,
    rule,
    excerpt
FROM read_parquet({files}, hive_partitioning = false)
