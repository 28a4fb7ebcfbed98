"""Thrift's compact protocol, as far as the footer of a Parquet file needs it: values to bytes.

Specification: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12


class Value(NamedTuple):
    """An encoded value and the number of its type."""

    type: int
    content: bytes


def varint(number: int) -> bytes:
    """A number ≥ 0 in groups of 7 bits, low ones first."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def varints(numbers: npt.NDArray[np.uint64]) -> list[bytes]:
    """:func:`varint` of each of many numbers."""
    shifts = np.arange(0, 64, 7, dtype=np.uint64)
    groups = (numbers[:, None] >> shifts).astype(np.uint8) & 0x7F
    n_bytes = np.maximum(1, ((numbers[:, None] >> shifts) > 0).sum(axis=1))
    groups[np.arange(len(shifts)) < n_bytes[:, None] - 1] |= 0x80
    content, width = groups.tobytes(), len(shifts)
    return [content[width * at : width * at + n] for at, n in enumerate(n_bytes.tolist())]


def zigzag(number: int) -> bytes:
    """A signed number: 0, −1, 1, −2, … as the varints 0, 1, 2, 3, … of the specification."""
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def i32(number: int) -> Value:
    """A 32-bit integer."""
    return Value(_I32, zigzag(number))


def i64(number: int) -> Value:
    """A 64-bit integer."""
    return Value(_I64, zigzag(number))


def binary(content: bytes) -> Value:
    """Bytes, or text in UTF-8."""
    return Value(_BINARY, varint(len(content)) + content)


def listing(items: Sequence[Value]) -> Value:
    """A list; its items have one type (an empty list's is that of structures)."""
    return _listing(items[0].type if items else _STRUCT, [item.content for item in items])


def _listing(kind: int, contents: Sequence[bytes]) -> Value:
    n = len(contents)
    head = bytes([n << 4 | kind]) if n < 15 else bytes([0xF0 | kind]) + varint(n)
    return Value(_LIST, head + b"".join(contents))


def structure(fields: Mapping[int, Value]) -> Value:
    """A structure: its fields by number, ascending by less than 16 each."""
    content, before = bytearray(), 0
    for number, value in fields.items():
        content.append(number - before << 4 | value.type)
        content += value.content
        before = number
    return Value(_STRUCT, bytes(content) + b"\0")


def encoded_structures(contents: Sequence[bytes]) -> Value:
    """A list of structures that are encoded already."""
    return _listing(_STRUCT, contents)
