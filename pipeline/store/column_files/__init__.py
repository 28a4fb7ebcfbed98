"""Parquet files of one page per column, put together in memory and read back the same way."""
