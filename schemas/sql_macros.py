"""The SQL macros of ``schemas/macros``: their names, and the text of their files."""

from __future__ import annotations

from functools import cache
from importlib.resources import files as package_files

#: Parts of the others, which give one value.
SCALAR_MACROS = ("chosen_model", "known_concept", "in_split", "better_sign", "quantile_between", "known_threshold")
#: The two sources of `neuron_values`.
SOURCE_MACROS = ("dense_values", "sparse_values")
#: Macros for users, each of which gives a table; a macro can only name those before it.
TABLE_MACROS = (
    "neuron_values",
    "neuron_thresholds",
    "neuron_ap",
    "neuron_auroc",
    "neuron_iou",
    "neuron_histogram",
    "word_means",
    "concept_overlap",
    "ap_intervals",
    "cluster_concepts",
)


@cache
def macro_file(name: str) -> str:
    """Text of ``schemas/macros/<name>.sql``."""
    return (package_files("schemas") / "macros" / f"{name}.sql").read_text(encoding="utf-8")


def macro_title(name: str) -> str:
    """What a macro gives: the first sentence of its file."""
    return macro_file(name).partition("-- inputs:")[0].replace("\n-- ", " ").partition(": ")[2].strip()
