"""From GPU to CPU while the GPU goes on: pinned buffers, a copy stream, and one batch of delay."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import torch

from pipeline.extract.batch import Batch
from pipeline.extract.capture import Target


@dataclass
class StagedBatch:
    """Tokens of one batch on their way to pinned memory; :meth:`tokens` waits for them."""

    batch: Batch
    ready: torch.cuda.Event
    pinned: dict[Target, torch.Tensor] = field(default_factory=dict)

    def tokens(self, target: Target) -> torch.Tensor:
        """Tokens (n, N) of a target in pinned CPU memory, ordered as ``batch.source``."""
        self.ready.synchronize()
        return self.pinned[target]


class Staging:
    """Copies the rows of a batch off the GPU on a stream of its own, two sets of pinned buffers taking turns.

    At most two batches are in flight: take the older one with :meth:`pop` before a third :meth:`begin`.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._buffers: deque[dict[Target, torch.Tensor]] = deque(({}, {}))
        self._flying: deque[StagedBatch] = deque()
        self._source = torch.empty(0)

    def __len__(self) -> int:
        """Batches in flight."""
        return len(self._flying)

    def begin(self, batch: Batch) -> None:
        """Announce the batch whose targets :meth:`stage` is about to receive."""
        self._buffers.rotate(1)
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._flying.append(StagedBatch(batch, ready))
        self._source = batch.source.to(self._stream.device, non_blocking=True)

    def gather(self, activations: torch.Tensor) -> torch.Tensor:
        """The tokens of ``activations`` (B, S, N) that have a row, (n, N) on the GPU, ordered as ``batch.source``."""
        return activations.reshape(-1, activations.shape[-1]).index_select(0, self._source)

    def stage(self, target: Target, tokens: torch.Tensor, dtype: torch.dtype) -> None:
        """Start copying gathered ``tokens`` (n, N), converted to ``dtype`` on the GPU; they may be a view."""
        chosen = tokens.to(dtype).contiguous()
        buffer = self._buffers[0].get(target)
        if buffer is None or buffer.shape[0] < chosen.shape[0]:
            buffer = torch.empty(chosen.shape, dtype=dtype, pin_memory=True)
            self._buffers[0][target] = buffer
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            pinned = buffer[: chosen.shape[0]]
            pinned.copy_(chosen, non_blocking=True)
            chosen.record_stream(self._stream)
        self._flying[-1].pinned[target] = pinned

    def end(self) -> None:
        """All targets of the batch have been staged."""
        self._flying[-1].ready.record(self._stream)

    def pop(self) -> StagedBatch:
        """The oldest batch in flight."""
        return self._flying.popleft()
