"""Thrift's compact protocol, as far as the footer of a Parquet file needs it: values to bytes.

Specification: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12


class Value(NamedTuple):
    """An encoded value and the number of its type."""

    type: int
    content: bytes


def varint(number: int) -> bytes:
    """A number ≥ 0 in groups of 7 bits, low ones first."""
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


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
    kind = items[0].type if items else _STRUCT
    head = bytes([len(items) << 4 | kind]) if len(items) < 15 else bytes([0xF0 | kind]) + varint(len(items))
    return Value(_LIST, head + b"".join(item.content for item in items))


def structure(fields: Mapping[int, Value]) -> Value:
    """A structure: its fields by number, ascending by less than 16 each."""
    content, before = bytearray(), 0
    for number, value in fields.items():
        content.append(number - before << 4 | value.type)
        content += value.content
        before = number
    return Value(_STRUCT, bytes(content) + b"\0")


def encoded_structure(content: bytes) -> Value:
    """A structure that is encoded already."""
    return Value(_STRUCT, content)
