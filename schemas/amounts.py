"""Amounts in words: counts with their nouns, sizes and durations, for everything that people read."""

from __future__ import annotations


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """1 and `shard` → `1 shard`; 2000 → `2,000 shards`. ``plural`` where it is not the noun with an s."""
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"


def human_bytes(n_bytes: float) -> str:
    """1536 → `1.5 kB` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def human_seconds(seconds: float) -> str:
    """95 → `1m35s`."""
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
