"""Chained URLs of fsspec: ``zip://a.conllu::file:///x.zip`` is a file in another, ``simplecache::s3://…`` a cache."""

from __future__ import annotations

_CACHES = frozenset(("simplecache", "filecache", "blockcache", "cached"))


def split_chain(url: str) -> tuple[str, str, str]:
    """``url`` in three: caches before the place (``simplecache::``), the place, and what it is in (``::file:///x.zip``).

    The parts joined are the URL; what is no chain is its own place. A file system without a path (``zip::…``) gets
    an empty one (``zip://``).
    """
    if "::" not in url or "://" not in url:
        return "", url, ""
    caches = ""
    first, *rest = url.split("::")
    while first in _CACHES and rest:
        caches += f"{first}::"
        first, *rest = rest
    place = first if "://" in first or not rest else f"{first}://"
    return caches, place, "".join(f"::{part}" for part in rest)
