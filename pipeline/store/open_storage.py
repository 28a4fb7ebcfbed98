"""Which storage a folder or URL names."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.store.remote_storage import RemoteStorage
from pipeline.store.storage import LocalStorage, Storage
from schemas.errors import StoreLocationError


def open_storage(url: str) -> Storage:
    """The storage behind a folder or URL; ``file://`` URLs and paths are folders, the rest goes through fsspec."""
    if not url:
        raise StoreLocationError("store: the path is empty; give a folder or a URL")
    scheme, separator, _ = url.partition("://")
    if not separator or scheme == "file":
        folder = Path(url.removeprefix("file://")).expanduser()
        return LocalStorage(Path(os.path.abspath(folder)))  # noqa: PTH100 - resolve() would follow links of the user
    return RemoteStorage(url)
