"""What the footer of an activation file says of it: written with the values, read back for receipts and readers.

=========================  ======================================================================================
``neuronmill.dtype``       dtype of the values: ``float16``, ``bfloat16`` or ``float32``
``neuronmill.layout``      ``sparse`` for files of (neuron, row_id, value); absent for one column per neuron
``neuronmill.rows``        sparse: ``<first row_id>,<number of rows>``
``neuronmill.neurons``     sparse: ``<first neuron>,<number of neurons>``
``neuronmill.rule``        what was kept of the model's values, e.g. ``topk 32``; absent for all of them
``neuronmill.loss``        with a rule: share of the sum of squares that was not kept
``neuronmill.n_clipped``   ``int8``: values beyond the largest code
=========================  ======================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

import pyarrow.parquet as pq

from schemas.config import ValueDtype
from schemas.errors import IntegrityError

_PREFIX = "neuronmill."
_DTYPES = get_args(ValueDtype)


@dataclass(frozen=True, slots=True)
class Reduction:
    """What a file keeps of the model's values, where that is not all of them."""

    rule: str
    """`topk K`, `threshold X` or `int8`."""
    loss: float
    """Share of the sum of squares of the file's values that is not kept, 0 … 1; written with 6 digits."""
    n_clipped: int | None = None
    """`int8`: values beyond the largest code."""


@dataclass(frozen=True, slots=True)
class ActivationFooter:
    """The facts above; ``rows`` and ``neurons`` are None for a file with one column per neuron."""

    dtype: ValueDtype
    rows: range | None = None
    neurons: range | None = None
    reduction: Reduction | None = None

    @property
    def is_sparse(self) -> bool:
        """Whether the file has the columns neuron, row_id and value."""
        return self.rows is not None

    def to_metadata(self) -> dict[bytes, bytes]:
        """Key-value metadata of a Parquet file."""
        facts = {"dtype": str(self.dtype)}
        if self.rows is not None and self.neurons is not None:
            facts |= {"layout": "sparse", "rows": _text(self.rows), "neurons": _text(self.neurons)}
        if self.reduction is not None:
            facts |= {"rule": self.reduction.rule, "loss": f"{self.reduction.loss:.6g}"}
            if self.reduction.n_clipped is not None:
                facts["n_clipped"] = str(self.reduction.n_clipped)
        return {(_PREFIX + name).encode(): value.encode() for name, value in facts.items()}

    @classmethod
    def of(cls, metadata: pq.FileMetaData, path: str) -> ActivationFooter:
        """Read :meth:`to_metadata` back; :class:`IntegrityError` for a file that is no activation file."""
        found: Mapping[bytes, bytes] = metadata.metadata or {}
        facts = {
            key.decode().removeprefix(_PREFIX): value.decode()
            for key, value in found.items()
            if key.startswith(_PREFIX.encode())
        }
        if facts.get("dtype") not in _DTYPES:
            raise IntegrityError(f"{path}: is not an activation file of this program (no {_PREFIX}dtype in its footer)")
        try:
            is_sparse = facts.get("layout") == "sparse"
            clipped = facts.get("n_clipped")
            reduction = None
            if "rule" in facts:
                reduction = Reduction(facts["rule"], float(facts["loss"]), None if clipped is None else int(clipped))
            return cls(
                cast("ValueDtype", facts["dtype"]),
                _range(facts["rows"]) if is_sparse else None,
                _range(facts["neurons"]) if is_sparse else None,
                reduction,
            )
        except (KeyError, ValueError) as error:
            raise IntegrityError(f"{path}: its footer cannot be read ({error!r}); dump it again") from error

    def entry_facts(self, n_values: int) -> dict[str, Any]:
        """Fields of the file's :class:`~pipeline.store.receipts.FileEntry` that the footer decides."""
        facts: dict[str, Any] = {}
        if self.rows is not None and self.neurons is not None:
            facts = {
                "n_rows": len(self.rows),
                "n_values": n_values,
                "first_neuron": self.neurons.start,
                "n_neurons": len(self.neurons),
            }
        if self.reduction is not None:
            facts |= {
                "rule": self.reduction.rule,
                "loss": self.reduction.loss,
                "n_clipped": self.reduction.n_clipped,
            }
        return facts


def _text(numbers: range) -> str:
    return f"{numbers.start},{len(numbers)}"


def _range(text: str) -> range:
    first, n = (int(part) for part in text.split(","))
    return range(first, first + n)
