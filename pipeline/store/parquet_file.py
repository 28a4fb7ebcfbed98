"""One Parquet file: writing it, and the error of one that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store.storage import Storage
from schemas.errors import IntegrityError, StoreError


def write_parquet(path: Path | str, table: pa.Table, **options: Any) -> None:
    """Write ``table`` with pyarrow's ``options``; :class:`StoreError` if that cannot be done."""
    with writing(path):
        pq.write_table(table, path, **options)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """What goes wrong with the disk inside is a :class:`StoreError` that names ``path``."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error}; check the disk's space and rights, and run again"
        ) from error


def unreadable(storage: Storage, path: str, error: Exception) -> IntegrityError:
    """The error of a file of a store that cannot be read."""
    return IntegrityError(
        f"store {storage.root}: {path} cannot be read: {error}; run `neuronmill verify`, "
        "delete the receipt it names, and run again"
    )
