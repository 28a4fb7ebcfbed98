"""How large a run gets: `python -m deploy.sizing --help`. Arithmetic only; reads no corpus, model or store.

    bytes per row    = bytes per value × (resid width × (blocks + 1) + width of every other component × blocks)
    disk             = rows × bytes per row                      (float16 and float32 are stored plain)
    rows per shard   = memory for a shard / bytes per row, between 256 and 131,072
    memory a worker  = model weights + 2 × rows per shard × bytes per row
    shards           = rows / rows per shard, rounded up

The factor 2 is an upper bound: a shard's activations are held once as captured and, one layer at a time, once more as
they are written. To count a real corpus instead of guessing its rows: `neuronmill plan --dry-run CONFIG.yaml`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

#: bfloat16 is held in memory in two bytes and stored as compressed float columns; int8 is rounded when it is written.
STORED_BYTES_PER_VALUE = {"float16": 2.0, "bfloat16": 1.6, "float32": 4.0, "int8": 0.9}
MEMORY_BYTES_PER_VALUE = {"float16": 2, "bfloat16": 2, "float32": 4, "int8": 4}
MIN_ROWS_PER_SHARD = 256
MAX_ROWS_PER_SHARD = 131_072
NEURONS_PER_FILE = 4096


@dataclass(frozen=True)
class ModelShape:
    """Widths of a transformer: ``resid`` neurons a layer, ``mlp`` neurons a layer, blocks, parameters.

    ``heads``: heads × head size, ``resid`` where None; ``keys``: key heads × head size, ``heads`` where None.
    """

    resid: int
    mlp: int
    n_blocks: int
    n_parameters: int
    heads: int | None = None
    keys: int | None = None

    def layers(self, components: tuple[str, ...]) -> list[int]:
        """Width of every layer of every component; ``resid`` has the embeddings as a layer of its own.

        Raises :class:`ValueError` for a component that is not built in.
        """
        heads = self.heads or self.resid
        keys = self.keys or heads
        widths = {"resid": self.resid, "mlp": self.mlp, "attn": self.resid, "head": heads}
        widths |= {"query": heads, "key": keys, "value": keys}
        unknown = [name for name in components if name not in widths]
        if unknown:
            raise ValueError(f"component {unknown[0]!r}: expected some of {', '.join(widths)}")
        return [widths[c] for c in components for _ in range(self.n_blocks + int(c == "resid"))]

    def values_per_row(self, components: tuple[str, ...]) -> int:
        """Activations of one row over all layers."""
        return sum(self.layers(components))

    def files_per_shard(self, components: tuple[str, ...]) -> int:
        """Activation files of one shard: one per layer and block of up to 4,096 neurons."""
        return sum(-(-width // NEURONS_PER_FILE) for width in self.layers(components))


@dataclass(frozen=True)
class Size:
    """What a run needs; sizes in bytes, ``seconds`` of forward passes over all workers."""

    n_rows: int
    bytes_per_row: int
    disk: int
    rows_per_shard: int
    n_shards: int
    n_files: int
    memory_per_worker: int
    seconds: float


def size_run(
    shape: ModelShape,
    n_rows: int,
    *,
    components: tuple[str, ...] = ("resid", "mlp"),
    dtype: str = "float16",
    memory_mb: int = 2048,
    n_workers: int = 1,
    tokens_per_second: float = 1000.0,
) -> Size:
    """Disk, memory, shards and time of a dump.

    Raises :class:`ValueError` for no rows, no neurons, an unknown dtype or component.
    """
    if dtype not in STORED_BYTES_PER_VALUE:
        raise ValueError(f"dtype {dtype!r}: expected one of {', '.join(STORED_BYTES_PER_VALUE)}")
    values = shape.values_per_row(components)
    if n_rows < 1 or values < 1:
        raise ValueError(f"a run needs at least one row and one neuron; got {n_rows} rows of {values} values")
    bytes_per_row = values * MEMORY_BYTES_PER_VALUE[dtype]
    fitting = memory_mb * 2**20 // (2 * bytes_per_row)  # one shard is computed while another is written
    rows_per_shard = min(MAX_ROWS_PER_SHARD, max(MIN_ROWS_PER_SHARD, fitting))
    n_shards = -(-n_rows // rows_per_shard)
    in_memory = 2 * min(rows_per_shard, n_rows) * bytes_per_row
    return Size(
        n_rows=n_rows,
        bytes_per_row=bytes_per_row,
        disk=round(n_rows * values * STORED_BYTES_PER_VALUE[dtype]),
        rows_per_shard=rows_per_shard,
        n_shards=n_shards,
        n_files=n_shards * shape.files_per_shard(components),
        memory_per_worker=4 * shape.n_parameters + in_memory,
        seconds=n_rows / (tokens_per_second * min(n_workers, n_shards)),
    )


def describe(size: Size, n_workers: int) -> list[str]:
    """The size in lines for a person."""
    lines = [
        f"rows               {size.n_rows:,}",
        f"bytes per row      {size.bytes_per_row:,} in memory",
        f"disk               {_bytes(size.disk)} of activations in {size.n_files:,} files",
        f"shards             {size.n_shards:,} of up to {size.rows_per_shard:,} rows",
        f"memory per worker  {_bytes(size.memory_per_worker)} (float32 weights and two shards)",
        f"forward passes     {_duration(size.seconds)} on {min(n_workers, size.n_shards)} of {n_workers} workers",
    ]
    if size.n_shards < n_workers:
        lines.append(f"hint               {n_workers - size.n_shards} workers would idle; lower --memory-mb")
    if size.rows_per_shard < 32_000 <= size.n_rows:
        lines.append("hint               files under 32,000 rows make SQL slower; raise --memory-mb if you can")
    return lines


def _bytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e12:,.1f} TB" if n_bytes >= 1e12 else f"{n_bytes / 1e9:,.2f} GB"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:,.1f} min"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m deploy.sizing", description="Disk, memory, shards and time of a neuronmill dump."
    )
    made.add_argument("--rows", type=int, help="rows (tokens at token unit)")
    made.add_argument("--words", type=int, help="words instead of rows, at --tokens-per-word")
    made.add_argument("--tokens-per-word", type=float, default=1.3, help="default: %(default)s (English subwords)")
    made.add_argument("--resid", type=int, required=True, help="hidden size of the model")
    made.add_argument("--mlp", type=int, required=True, help="FFN neurons a layer (intermediate size)")
    made.add_argument("--heads", type=int, help="heads times head size; default: --resid")
    made.add_argument("--keys", type=int, help="key heads times head size; default: --heads")
    made.add_argument("--blocks", type=int, required=True, help="number of transformer blocks")
    made.add_argument("--parameters", type=float, default=0, help="parameters of the model, e.g. 8e9")
    made.add_argument("--components", default="resid,mlp", help="default: %(default)s")
    made.add_argument("--dtype", choices=sorted(STORED_BYTES_PER_VALUE), default="float16", help="default: %(default)s")
    made.add_argument("--memory-mb", type=int, default=2048, help="dump.memory_mb; default: %(default)s")
    made.add_argument("--workers", type=int, default=1, help="default: %(default)s")
    made.add_argument(
        "--tokens-per-second", type=float, default=1000, help="forward speed of one worker; default: %(default)s"
    )
    return made


def main(arguments: list[str] | None = None) -> None:
    """Print the size of a run."""
    options = parser().parse_args(arguments)
    if (options.rows is None) == (options.words is None):
        parser().error("give exactly one of --rows and --words")
    n_rows = options.rows if options.rows is not None else round(options.words * options.tokens_per_word)
    try:
        size = size_run(
            ModelShape(
                options.resid, options.mlp, options.blocks, round(options.parameters), options.heads, options.keys
            ),
            n_rows,
            components=tuple(options.components.split(",")),
            dtype=options.dtype,
            memory_mb=options.memory_mb,
            n_workers=options.workers,
            tokens_per_second=options.tokens_per_second,
        )
    except ValueError as error:
        parser().error(str(error))
    sys.stdout.write("\n".join(describe(size, options.workers)) + "\n")


if __name__ == "__main__":
    main()
