"""The sizing arithmetic agrees with the planner and with a dump that was made."""

from __future__ import annotations

import pytest

from deploy.sizing import ModelShape, main, size_run
from pipeline.run.plan_record import Capture
from pipeline.run.planning import MAX_ROWS_PER_SHARD, MIN_ROWS_PER_SHARD

MINILM = ModelShape(resid=384, mlp=1536, n_blocks=6, n_parameters=22_700_000)


def _capture(components: tuple, dtype: str) -> Capture:
    return Capture(
        components=components,
        layers={name: tuple(range(int(name != "resid"), 7)) for name in components},
        widths={"mlp": 1536, **dict.fromkeys(("resid", "attn", "head", "query", "key", "value"), 384)},
        unit="token",
        pooling=None,
        dtype=dtype,
        token_budget=2048,
        threads=1,
        device="cpu",
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int8"])
@pytest.mark.parametrize("components", [("resid",), ("mlp",), ("resid", "mlp"), ("attn", "head", "key")])
def test_bytes_per_row_are_the_planners(components, dtype):
    size = size_run(MINILM, 1000, components=components, dtype=dtype)
    assert size.bytes_per_row == _capture(components, dtype).memory_per_row


def test_the_demo():
    size = size_run(MINILM, 78_590)
    assert (size.bytes_per_row, size.n_shards, size.n_files) == (23_808, 2, 26)
    assert size.disk == pytest.approx(1_883_754_270, rel=0.01)  # bytes of the demo's activation files


@pytest.mark.parametrize(
    ("memory_mb", "rows"), [(1, MIN_ROWS_PER_SHARD), (2048, 45_100), (1_000_000, MAX_ROWS_PER_SHARD)]
)
def test_rows_per_shard_are_the_planners(memory_mb, rows):
    assert size_run(MINILM, 10**6, memory_mb=memory_mb).rows_per_shard == rows


def test_a_wide_layer_is_cut_into_blocks():
    wide = ModelShape(resid=4096, mlp=14_336, n_blocks=2, n_parameters=0)
    assert wide.files_per_shard(("resid", "mlp")) == 3 * 1 + 2 * 4


def test_shared_keys_are_narrower():
    shape = ModelShape(resid=4096, mlp=14_336, n_blocks=2, n_parameters=0, keys=1024)
    assert shape.values_per_row(("query", "key", "value")) == 2 * (4096 + 1024 + 1024)


def test_shards_cover_all_rows_and_more_workers_than_shards_do_not_help():
    size = size_run(MINILM, 45_101, n_workers=8, tokens_per_second=100)
    assert size.n_shards == 2
    assert size.seconds == pytest.approx(45_101 / 200)


def test_the_command_prints_the_size(capsys):
    main(["--words", "1000", "--tokens-per-word", "1.5", "--resid", "384", "--mlp", "1536", "--blocks", "6"])
    out = capsys.readouterr().out
    assert "rows               1,500" in out
    assert "shards             1 of" in out


@pytest.mark.parametrize(
    "arguments", [[], ["--rows", "5", "--words", "5"], ["--rows", "0"], ["--rows", "5", "--components", "atn"]]
)
def test_wrong_arguments_are_one_error(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--resid", "4", "--mlp", "8", "--blocks", "1"])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err
