"""The store: paths, commits, receipts, manifests, Parquet, DuckDB. The only home of duckdb and Parquet input/output."""

from pipeline.store.manifest import Manifest
from pipeline.store.parquet import BLOCK_NEURONS, ActivationReader, read_table, write_activations, write_table
from pipeline.store.receipts import FileEntry, Receipt
from pipeline.store.staging import Staging, sweep_staging
from pipeline.store.store import Store

__all__ = [
    "BLOCK_NEURONS",
    "ActivationReader",
    "FileEntry",
    "Manifest",
    "Receipt",
    "Staging",
    "Store",
    "read_table",
    "sweep_staging",
    "write_activations",
    "write_table",
]
