"""Names of label layers: they become columns of the words table, so they are SQL identifiers, unique in any case."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from schemas.errors import CorpusError
from schemas.tables import WORDS

RESERVED = frozenset(column.name for column in WORDS.columns)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@lru_cache(maxsize=4096)
def layer_name(name: str) -> str:
    """``name`` as a layer name: runs of other characters become ``_``, fixed columns get ``_layer``."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "layer"
    if name[0].isdigit():
        name = f"_{name}"
    return f"{name}_layer" if name.lower() in RESERVED else name


def check_declared(names: Iterable[str], key: str) -> None:
    """Refuse layer names of a config that are no identifiers, double (in any case), or columns of the words table."""
    seen: set[str] = set()
    for name in names:
        if not _IDENTIFIER.fullmatch(name):
            raise CorpusError(
                f"{key}: a layer name has letters, digits and `_` only, got {name!r}; rename it to {layer_name(name)!r}"
            )
        if name.lower() in RESERVED:
            raise CorpusError(
                f"{key}: {name!r} is a fixed column of the words table; rename it, e.g. {name + '_layer'!r}"
            )
        if name.lower() in seen:
            raise CorpusError(f"{key}: layer names must differ by more than case, got {name!r} twice; rename one")
        seen.add(name.lower())


def check_found(names: Iterable[str], source: str) -> None:
    """Refuse layers found in a corpus whose names differ only in case: SQL could not tell them apart."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise CorpusError(
                f"{source}: layers must differ by more than case, got {other!r} and {name!r}; rename one in the corpus"
            )
