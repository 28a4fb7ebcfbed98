-- labels: one concept holding for one counted row
-- inputs: {files}, the list of this table's Parquet files by the manifest; {distinct}, DISTINCT where several sets of
--     concepts cover the same rows, else nothing
-- output columns: row_id, concept
-- example row: 45 | upos=NUM
SELECT {distinct} row_id, concept
FROM read_parquet({files}, hive_partitioning = false)
