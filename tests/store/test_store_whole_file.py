"""Files written in one go: any size, with and without a disk that takes direct writes, and memory used again."""

from __future__ import annotations

import errno
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.store.column_files import whole_file
from pipeline.store.column_files.whole_file import file_memory, release_file_memory, write_whole


@pytest.mark.parametrize("n_bytes", [0, 1, 511, 4095, 4096, 4097, 10_000, 1 << 20])
def test_the_file_has_exactly_these_bytes(tmp_path, n_bytes):
    content = os.urandom(n_bytes)
    with file_memory(n_bytes) as memory:
        memory[:n_bytes] = content
        written = write_whole(tmp_path / "file", memory, n_bytes)
    assert (tmp_path / "file").read_bytes() == content
    assert (written.n_bytes, written.sha256) == (n_bytes, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("call", ["open", "write"])
def test_a_disk_without_direct_writes_gets_the_same_bytes(tmp_path, monkeypatch, call):
    """As some network and memory file systems answer: at the opening, or not before the first write."""
    direct = []

    def refusing_open(path, flags, mode=0o777):
        if flags & os.O_DIRECT:
            direct.append(path)
            raise OSError(errno.EINVAL, "Invalid argument", path)
        return real_open(path, flags, mode)

    def refusing_write(descriptor, content):
        if whole_file.fcntl.fcntl(descriptor, whole_file.fcntl.F_GETFL) & os.O_DIRECT:
            direct.append(descriptor)
            raise OSError(errno.EINVAL, "Invalid argument")
        return real_write(descriptor, content)

    real_open, real_write = os.open, os.write
    monkeypatch.setattr(whole_file.os, call, refusing_open if call == "open" else refusing_write)
    content = os.urandom(10_000)
    with file_memory(len(content)) as memory:
        memory[: len(content)] = content
        write_whole(tmp_path / "file", memory, len(content))
    assert direct, "direct writing was tried"
    assert (tmp_path / "file").read_bytes() == content


def test_writes_that_take_a_part_go_on(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(whole_file.os, "write", lambda descriptor, content: real(descriptor, content[:4096]))
    content = os.urandom(50_000)
    with file_memory(len(content)) as memory:
        memory[: len(content)] = content
        write_whole(tmp_path / "file", memory, len(content))
    assert (tmp_path / "file").read_bytes() == content


def test_other_errors_of_the_disk_are_raised(tmp_path, monkeypatch):
    def full(descriptor, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(whole_file.os, "write", full)
    with file_memory(100) as memory, pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "file", memory, 100)


def test_memory_is_used_again_and_never_by_two_at_a_time():
    release_file_memory()
    with file_memory(100_000) as first, file_memory(100_000) as second:
        assert second is not first
    with file_memory(90_000) as third:
        assert third is first or third is second

    def fill(number: int) -> bool:
        with file_memory(70_000) as memory:
            memory[:70_000] = bytes([number]) * 70_000
            return memory[:70_000] == bytes([number]) * 70_000

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(fill, [number % 256 for number in range(400)]))


def test_what_is_kept_is_bounded_and_can_be_given_back(monkeypatch):
    release_file_memory()
    monkeypatch.setattr(whole_file, "_KEPT_BYTES", 3 << 20)
    with file_memory(1 << 20), file_memory(2 << 20), file_memory(4 << 20):
        pass
    assert [len(memory) for memory in whole_file._free] == [2 << 20, 1 << 20], "4 MB are more than may be kept"
    with file_memory(3 << 20):
        pass
    assert [len(memory) for memory in whole_file._free] == [3 << 20], "the largest are kept"
    release_file_memory()
    assert whole_file._free == []
