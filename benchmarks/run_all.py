"""All benchmarks with their defaults, one after the other: `make bench`."""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    *("encoding", "dump", "workers", "forecast", "readback", "verify"),
    *("search", "search_store", "explain", "clusters", "correlate", "multi_model", "factors", "memory"),
)


def main() -> None:
    for name in NAMES:
        print(f"\n== benchmarks.{name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
