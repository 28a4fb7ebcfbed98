"""The forward pass over one shard: sequences in, activation rows of every target out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from pipeline.extract.batch import Batch
from pipeline.extract.batching import batches_of, model_inputs
from pipeline.extract.capture import Capture, Target
from pipeline.extract.model import LoadedModel
from pipeline.extract.row_table import RowTable
from pipeline.extract.rows_in_memory import RowMemory, Rows
from pipeline.extract.sae import Sae
from pipeline.extract.sequences import Sequences
from pipeline.extract.staging import StagedBatch, Staging
from pipeline.extract.storage_dtype import Bits, storage_dtype
from schemas.errors import ActivationError, ModelError


class Extractor:
    """Activations of chosen targets of one model.

    ``targets``: ``(component, layer)`` pairs, those of ``saes`` among them. ``dtype``: stored dtype. ``token_budget``:
    padded tokens per batch; it, and torch's threads, decide the last bits of the result; nothing else does.
    ``pooling``: ``mean`` and ``max`` pool the tokens of a row in float32; anything else takes rows of one token each.
    ``neurons``: ascending ranges to keep of a component, all by default. ``packing``: several sequences in a line.
    Raises :class:`ModelError` for a target the model does not have.

    After :meth:`extract`, ``token_budget_used`` is the budget it ran with: smaller than asked for if the GPU's memory
    did not suffice and it was halved.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        targets: Sequence[Target],
        dtype: str,
        token_budget: int,
        pooling: str | None = None,
        *,
        neurons: Mapping[str, Sequence[range]] | None = None,
        saes: Sequence[Sae] = (),
        packing: bool = False,
    ) -> None:
        self.loaded = loaded
        self._targets = tuple(dict.fromkeys(targets))
        self._saes = {sae.target: sae for sae in saes if sae.target in self._targets}
        self._captured = [target for target in self._targets if target not in self._saes]
        self._captured += [sae.source for sae in self._saes.values()]
        for component, layer in self._captured:
            loaded.info.check_layers(component, (layer,))
        self._neurons = neurons or {}
        self._storage = storage_dtype(dtype)
        self._token_budget = token_budget
        self._pooling = pooling
        self._packing = packing
        self.token_budget_used = token_budget
        self.memory = RowMemory()
        """Where the rows are; give them back once they are written."""

    def extract(self, sequences: Sequences) -> dict[Target, Bits]:
        """Rows of all targets, (T, N) each: uint16 bits of ``float16`` or ``bfloat16``, or float32.

        Raises like :meth:`capture`.
        """
        found = {}
        for target, rows in self.capture(sequences).items():
            found[target] = rows.in_order()
            self.memory.give_back(rows)
        return found

    def capture(self, sequences: Sequences) -> dict[Target, Rows]:
        """Rows of all targets, in the order in which the batches gave them.

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

    def _extract(self, sequences: Sequences, token_budget: int) -> dict[Target, Rows]:
        batches = batches_of(sequences, token_budget, self.loaded.info.pad_token_id, packing=self._packing)
        tables = {
            target: RowTable(target, self._kept(target), self._storage, self._pooling, sequences, self.memory)
            for target in self._targets
        }
        run = self._on_gpu if self.loaded.device.type == "cuda" else self._on_cpu
        with torch.inference_mode():
            run(batches, tables)
            return {target: table.finish() for target, table in tables.items()}

    def _kept(self, target: Target) -> Sequence[range]:
        """The neurons to keep of a target."""
        sae = self._saes.get(target)
        width = self.loaded.info.widths[target[0]] if sae is None else sae.w_enc.shape[1]
        return self._neurons.get(target[0], (range(width),))

    def _on_cpu(self, batches: list[Batch], tables: dict[Target, RowTable]) -> None:
        """Each batch is written as its layers are computed."""
        batch: Batch

        def consume(target: Target, activations: torch.Tensor) -> None:
            if target in tables:
                tables[target].write(activations.cpu(), batch)
            for sae in self._reading(target):
                flat = activations.reshape(-1, activations.shape[-1])
                latents = sae.latents(flat.index_select(0, batch.source.to(flat.device)))
                tables[sae.target].write_rows(tables[sae.target].select(latents).cpu(), batch)

        with Capture(self.loaded.module, self.loaded.sites, self._captured, consume) as capture:
            for batch in batches:
                capture.forward(**model_inputs(self.loaded, batch))

    def _reading(self, target: Target) -> list[Sae]:
        """Autoencoders that read this target."""
        return [sae for sae in self._saes.values() if sae.source == target]

    def _on_gpu(self, batches: list[Batch], tables: dict[Target, RowTable]) -> None:
        staging = Staging(self.loaded.device)

        def consume(target: Target, activations: torch.Tensor) -> None:
            tokens = staging.gather(activations)
            if target in tables:
                staging.stage(target, tables[target].select(tokens), tables[target].staged_dtype)
            for sae in self._reading(target):
                table = tables[sae.target]
                staging.stage(sae.target, table.select(sae.latents(tokens)), table.staged_dtype)

        with Capture(self.loaded.module, self.loaded.sites, self._captured, consume) as capture:
            for batch in batches:
                staging.begin(batch)
                capture.forward(**model_inputs(self.loaded, batch))
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
            for table in tables.values():
                table.restart()
            self._on_cpu([staged.batch], tables)
            raise
