"""Receipts set aside: their pieces count as not done while a repair does them again.

A receipt goes to ``repairs/`` before its piece is done again, and comes back, byte for byte, once the files are as it
says. What it records stays binding meanwhile (:mod:`pipeline.store.immutability` reads it too), and a repair that was
killed is undone by the next one.
"""

from __future__ import annotations

from pipeline.store.paths import RECEIPTS, REPAIRS
from pipeline.store.receipts import Receipt
from pipeline.store.storage import Storage


def _place(receipt_path: str) -> str:
    return f"{REPAIRS}/{receipt_path.removeprefix(f'{RECEIPTS}/')}"


def set_aside(storage: Storage, receipt_path: str) -> None:
    """Move a receipt out of the way."""
    storage.put(_place(receipt_path), storage.read(receipt_path))
    storage.delete(receipt_path)


def is_aside(storage: Storage, receipt_path: str) -> bool:
    """Whether this receipt is set aside."""
    return storage.exists(_place(receipt_path))


def aside_receipt(storage: Storage, receipt_path: str) -> Receipt:
    """The receipt that was set aside."""
    path = _place(receipt_path)
    return Receipt.from_json(storage.read(path), path)


def put_back(storage: Storage, receipt_path: str) -> None:
    """Move a receipt back to its place, over one that its piece has got since."""
    storage.put(receipt_path, storage.read(_place(receipt_path)))
    storage.delete(_place(receipt_path))


def drop_aside(storage: Storage, receipt_path: str) -> None:
    """Forget the receipt of old: its piece has a better one."""
    storage.delete(_place(receipt_path))


def put_all_back(storage: Storage) -> list[str]:
    """Undo what a killed repair left; returns the paths of the receipts."""
    paths = [f"{RECEIPTS}/{path.removeprefix(f'{REPAIRS}/')}" for path in storage.list(REPAIRS)]
    for path in paths:
        put_back(storage, path)
    leave_nothing(storage)
    return paths


def leave_nothing(storage: Storage) -> None:
    """Remove the folders of receipts that were set aside and are not any more."""
    storage.prune(REPAIRS)
