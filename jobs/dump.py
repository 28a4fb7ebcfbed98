"""`neuronmill dump`: write the activations of every planned shard."""

from __future__ import annotations

from jobs.next_command import command_of_model
from jobs.stage import stage_command
from pipeline.run.dump import dump

command = stage_command(
    "dump",
    dump,
    """Write the activations of every planned shard as Parquet.

    One forward pass per shard gives all components and layers. Shards with a receipt are skipped, so starting again
    after a crash redoes at most the shards that were in flight. Executor and workers never change a byte.
    """,
    command_of_model("stats"),
)
