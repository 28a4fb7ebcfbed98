"""`neuronmill stats`: statistics per neuron."""

from __future__ import annotations

from jobs.next_command import command_of_store
from jobs.stage import stage_command
from pipeline.run.statistics import compute_statistics

command = stage_command(
    "stats",
    compute_statistics,
    """Mean, variance, skewness, kurtosis, extremes, exact quantiles, activity rate, dead and saturated, per neuron.

    Written to the table `neuron_stats`; see docs/reference/tables.md.
    """,
    command_of_store("sql", '"SELECT * FROM neuron_stats ORDER BY kurtosis DESC LIMIT 10"'),
)
