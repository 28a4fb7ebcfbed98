"""Methods of a run as the report shows them: their order, titles and scales."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipeline.report.connection import Connection, ask
from schemas.errors import UsageError

#: Title, one-line meaning and the range of the colour scale (None: from 0 to the largest score).
_KNOWN: dict[str, tuple[str, str, tuple[float, float] | None]] = {
    "ap": (
        "Average precision",
        "Area under the precision–recall curve of the neuron as a detector of the concept. Chance is the base rate.",
        (0.0, 1.0),
    ),
    "auroc": (
        "AUROC",
        "Probability that a random row of the concept is above a random other row. Chance is 0.5.",
        (0.5, 1.0),
    ),
    "iou": (
        "IoU at a quantile",
        "Overlap of the concept's rows with the neuron's highest rows, a fixed share of all.",
        (0.0, 1.0),
    ),
    "best_iou": (
        "Best IoU",
        "Overlap of the concept's rows with the rows above the threshold that makes it largest.",
        (0.0, 1.0),
    ),
    "f1": (
        "F1",
        "F1 of the concept's rows and the rows above the threshold that makes it largest.",
        (0.0, 1.0),
    ),
    "mi": (
        "Mutual information",
        "Share of the concept's entropy that the neuron's decile tells. Chance is 0.",
        (0.0, 1.0),
    ),
    "mean_diff": (
        "Mean difference",
        "|mean on the concept − mean off it|, on the scale of the activations: large for neurons with a large scale.",
        None,
    ),
    "probeless": (
        "Probeless",
        "Summed distances of the concept's mean from the means of the other classes of its label layer.",
        None,
    ),
    "selectivity": (
        "Selectivity",
        "|mean on the concept − mean off it|, as a share of the neuron's range.",
        (0.0, 1.0),
    ),
    "cohen_d": (
        "Standardised difference",
        "|mean on the concept − mean off it|, in pooled standard deviations.",
        None,
    ),
    "welch_t": (
        "Welch's t",
        "|mean on the concept − mean off it|, in standard errors: large for concepts with many rows.",
        None,
    ),
    "pearson": (
        "Correlation",
        "Correlation of the neuron with the concept's indicator.",
        (0.0, 1.0),
    ),
}


@dataclass(frozen=True, slots=True)
class Method:
    """One method with its parameters, as found in the rankings of a run.

    ``label`` is short and unique in the run; ``scale`` is the range of scores a colour scale should span, or None.
    """

    method: str
    params: str
    label: str
    title: str
    meaning: str
    scale: tuple[float, float] | None
    split: str
    n_rows: int
    n_kept: int

    @property
    def key(self) -> dict[str, str]:
        """The two columns that pick this method out of ``rankings``."""
        return {"method": self.method, "params": self.params}


def load_methods(connection: Connection, run_id: str) -> tuple[Method, ...]:
    """Methods of the run's rankings: average precision first, then the order of METHODS, then by name.

    Raises :class:`UsageError` when the run has no rankings.
    """
    rows = ask(connection, "methods", run=run_id)
    if not rows:
        raise UsageError(f"run {run_id!r} has no rankings to show; run `neuronmill search` first")
    names = [row[0] for row in rows]
    methods = []
    for name, params, split, n_rows, n_kept in rows:
        title, meaning, scale = _KNOWN.get(name, (name, "", None))
        suffix = "" if names.count(name) == 1 else f" {short_params(params)}"
        methods.append(Method(name, params, name + suffix, title + suffix, meaning, scale, split, n_rows, n_kept))
    order = {name: i for i, name in enumerate(_KNOWN)}
    return tuple(sorted(methods, key=lambda m: (order.get(m.method, len(order)), m.method, m.params)))


def choose_method(methods: tuple[Method, ...], method: str | None) -> Method:
    """The method of that name or label; the first one for None.

    Raises :class:`UsageError` with the names there are.
    """
    for candidate in methods:
        if method in (None, candidate.method, candidate.label):
            return candidate
    there = ", ".join(m.label for m in methods)
    raise UsageError(f"method {method!r} is not in the rankings of this run; it has {there}")


def short_params(params: str) -> str:
    """``alpha=0.005, pooling=last`` of a JSON object; the text itself when it is none."""
    try:
        values = json.loads(params)
    except ValueError:
        return params
    if not isinstance(values, dict):
        return params
    return ", ".join(f"{k}={v}" for k, v in sorted(values.items()) if v is not None)
