"""The layers of an imported model share one stored dtype."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from import_case import make_case, run_import
from safetensors.torch import save_file
from tiny_run import tables

from pipeline.run.importing import ImportRequest, preview_import
from pipeline.store.store import Store
from schemas.errors import ConfigError

CASE = make_case()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_16_bit_layer_of_a_float32_model_is_widened(dtype, tmp_path):
    values, labels = CASE.save(tmp_path)
    run_import(tmp_path / "store", values, labels=labels)
    rounded = torch.from_numpy(CASE.values).to(dtype)
    save_file({"x": rounded}, tmp_path / "Y.safetensors")
    layer = {"layers": (4,)}
    told = preview_import(
        ImportRequest((str(tmp_path / "Y.safetensors"),), "mine", "mlp", (4,)), Store.open(str(tmp_path / "store"))
    )
    name = str(dtype).removeprefix("torch.")
    assert told[1] == f"as: mine mlp 4 ({name} becomes float32, as the model's other layers are; no value changes)"
    plan = run_import(tmp_path / "store", tmp_path / "Y.safetensors", **layer)
    assert (plan.capture.dtype, plan.capture.targets) == ("float32", (("mlp", 3), ("mlp", 4)))
    again = run_import(tmp_path / "store", tmp_path / "Y.safetensors", **layer)
    assert again.run_id == plan.run_id
    with tables(Store.open(str(tmp_path / "store"))) as found:
        _, stored = found.activations("mlp", 4, "mine")
    assert np.array_equal(stored, rounded.to(torch.float64).numpy())
    with pytest.raises(ConfigError, match=r"--dtype float16: .* stored as float32"):
        run_import(tmp_path / "store", tmp_path / "Y.safetensors", dtype="float16", layers=(5,))
