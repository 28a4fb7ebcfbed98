"""Memory of row tables: used again once it is given back, never before."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.extract.rows_in_memory import RowMemory, Rows


def rows_of(memory: torch.Tensor, n_rows: int, n_neurons: int) -> Rows:
    bits = memory[: n_rows * n_neurons * 2].view(torch.uint16).view(n_rows, n_neurons).numpy()
    return Rows(bits, np.arange(n_rows), memory)


def test_memory_comes_back_only_after_it_was_given_back() -> None:
    memory = RowMemory()
    first, second = memory.take(100, 8), memory.take(100, 8)
    assert first.data_ptr() != second.data_ptr()
    memory.give_back(rows_of(first, 100, 4))
    assert memory.take(103, 8).data_ptr() == first.data_ptr(), "a few rows more fit"
    memory.give_back(rows_of(second, 100, 4))
    assert memory.take(100, 16).data_ptr() != second.data_ptr(), "wider rows have memory of their own"
    larger = memory.take(1000, 8)
    assert larger.numel() >= 8000
    assert larger.data_ptr() != second.data_ptr()


def test_a_shard_without_rows() -> None:
    memory = RowMemory()
    empty = memory.take(0, 8)
    memory.give_back(rows_of(empty, 0, 4))
    assert memory.take(10, 8).numel() >= 80


def test_rows_in_order_are_a_copy() -> None:
    memory = torch.zeros(12, dtype=torch.uint8)
    bits = memory.view(torch.uint16).view(3, 2).numpy()
    bits[:] = [[0, 0], [1, 1], [2, 2]]
    ordered = Rows(bits, np.array([2, 0, 1]), memory).in_order()
    assert ordered.tolist() == [[2, 2], [0, 0], [1, 1]]
    bits[:] = 9
    assert ordered.tolist() == [[2, 2], [0, 0], [1, 1]]
