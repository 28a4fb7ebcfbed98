"""The forward pass over one shard: sequences in, activation rows of every target out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pipeline.extract.batch import Batch, make_batch
from pipeline.extract.capture import Capture, Target
from pipeline.extract.model import LoadedModel
from pipeline.extract.model_info import model_blocks
from pipeline.extract.row_table import RowTable
from pipeline.extract.sequences import Sequences, make_batches
from pipeline.extract.staging import StagedBatch, Staging
from pipeline.extract.storage_dtype import Bits, storage_dtype
from schemas.errors import ActivationError, ModelError


class Extractor:
    """Activations of chosen targets of one model.

    ``targets``: ``(component, layer)`` pairs. ``dtype``: stored dtype. ``token_budget``: padded tokens per batch; it,
    and torch's threads, decide the last bits of the result; nothing else does. ``pooling``: ``mean`` and ``max`` pool
    the tokens of a row in float32; anything else takes rows of one token each. Raises :class:`ModelError` for a
    target the model does not have.

    After :meth:`extract`, ``token_budget_used`` is the budget it ran with: smaller than asked for if the GPU's memory
    did not suffice and it was halved.
    """

    def __init__(
        self, loaded: LoadedModel, targets: Sequence[Target], dtype: str, token_budget: int, pooling: str | None = None
    ) -> None:
        for component, layer in targets:
            loaded.info.check_layers(component, (layer,))
        self.loaded = loaded
        self._targets = tuple(dict.fromkeys(targets))
        self._storage = storage_dtype(dtype)
        self._token_budget = token_budget
        self._pooling = pooling
        self._blocks = model_blocks(loaded.module, loaded.info)
        self.token_budget_used = token_budget

    def extract(self, sequences: Sequences) -> dict[Target, Bits]:
        """Rows of all targets, (T, N) each: uint16 bits of ``float16`` or ``bfloat16``, or float32.

        Raises :class:`ActivationError` for NaN, infinity or overflow, naming component, layer, neuron and value.
        """
        self.token_budget_used = self._token_budget
        longest = int(sequences.lengths.max(initial=1))
        while True:
            try:
                return self._extract(sequences, self.token_budget_used)
            except torch.OutOfMemoryError as error:
                if self.token_budget_used <= longest:
                    raise ModelError(
                        f"the GPU's memory does not suffice for one sequence of {longest} tokens; "
                        "use a larger GPU or a smaller model.compute_dtype"
                    ) from error
            torch.cuda.empty_cache()
            self.token_budget_used = max(longest, self.token_budget_used // 2)

    def _extract(self, sequences: Sequences, token_budget: int) -> dict[Target, Bits]:
        tables = {
            target: RowTable(target, self.loaded.info.widths[target[0]], self._storage, self._pooling, sequences)
            for target in self._targets
        }
        # a sequence without any row (only special tokens, at word unit) need not run
        has_row = np.concatenate([[0], np.cumsum(sequences.token_row >= 0)])[sequences.offsets]
        used = np.flatnonzero(np.diff(has_row))
        batches = [used[chosen] for chosen in make_batches(sequences.lengths[used], token_budget)]
        run = self._on_gpu if self.loaded.device.type == "cuda" else self._on_cpu
        with torch.inference_mode():
            run([make_batch(sequences, members, self.loaded.info.pad_token_id) for members in batches], tables)
            return {target: table.finish() for target, table in tables.items()}

    def _on_cpu(self, batches: list[Batch], tables: dict[Target, RowTable]) -> None:
        for batch in batches:
            self._run(batch, tables)

    def _run(self, batch: Batch, tables: dict[Target, RowTable]) -> None:
        """One batch, written as its layers are computed."""

        def consume(target: Target, activations: torch.Tensor) -> None:
            tables[target].write(activations.cpu(), batch)

        with Capture(self.loaded.module, self._blocks, self._targets, consume) as capture:
            device = self.loaded.device
            capture.forward(batch.input_ids.to(device), batch.attention_mask.to(device))

    def _on_gpu(self, batches: list[Batch], tables: dict[Target, RowTable]) -> None:
        staging = Staging(self.loaded.device)

        def consume(target: Target, activations: torch.Tensor) -> None:
            staging.stage(target, activations, tables[target].staged_dtype)

        with Capture(self.loaded.module, self._blocks, self._targets, consume) as capture:
            for batch in batches:
                staging.begin(batch)
                capture.forward(
                    batch.input_ids.to(self.loaded.device, non_blocking=True),
                    batch.attention_mask.to(self.loaded.device, non_blocking=True),
                )
                staging.end()
                if len(staging) == 2:
                    self._write(staging.pop(), tables)
        while len(staging):
            self._write(staging.pop(), tables)

    def _write(self, staged: StagedBatch, tables: dict[Target, RowTable]) -> None:
        try:
            for target, table in tables.items():
                table.write_rows(staged.tokens(target), staged.batch)
        except ActivationError:
            # converted on the GPU, the value is gone: run the batch again to name it
            self._run(staged.batch, tables)
            raise
