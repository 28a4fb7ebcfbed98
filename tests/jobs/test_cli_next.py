"""The command that a job names as the next one works as it is printed, in a store of several models too."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
from command import Result, Workplace, done


def following(result: Result) -> list[str]:
    """Arguments of the command that a job has named."""
    (line,) = re.findall(r"^next: neuronmill (.*)$", result.out, re.MULTILINE)
    return shlex.split(line)


def test_imports_of_two_models(tmp_path: Path) -> None:
    store = tmp_path / "a store"
    labels = tmp_path / "L.tsv"
    labels.write_text("\n".join(["word\tit's", *(f"w{i}\t{i % 2}" for i in range(40))]) + "\n")
    np.save(tmp_path / "X.npy", np.random.default_rng(0).normal(size=(40, 3)).astype(np.float16))
    arguments = ("import", tmp_path / "X.npy", "--labels", labels, "--component", "mlp", "--layer", 1, "--store", store)
    assert following(done(*arguments, "--model", "one")) == ["search", "--store", str(store)]
    searched = following(done(*arguments, "--model", "two"))
    assert searched == ["search", "--store", str(store), "--model", "two"]
    top = following(done(*searched))
    assert top == ["top", "--store", str(store), "--model", "two", "--concept", "it's"]
    assert "mlp:1:" in done(*top).out
    assert "kurtosis" in done(*following(done("stats", "--store", store, "--model", "two"))).out
    done(*following(done("contexts", "--store", store, "--model", "two")))


def test_a_second_model_in_float32(workplace: Workplace, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = workplace.config(tmp_path / "first.yaml", store)
    dumped = following(done("plan", first, "--no-pilot"))
    assert dumped == ["dump", "--store", str(store)]
    config = workplace.config(
        tmp_path / "config.yaml", store, model={"alias": "second"}, dump={"dtype": "float32", "layers": [1]}
    )
    planned = done("plan", config, "--no-pilot")
    done(*following(done(*following(planned))))
    assert "upos=" in " ".join(following(done("search", "--store", store, "--model", "second")))
    rounded = "SELECT DISTINCT json_extract_string(params, 'rounded') AS dtype FROM rankings WHERE method = 'ap'"
    assert done("sql", "--store", store, "--format", "csv", rounded).out.split()[1:] == ['""']
    searched = following(done("search", config, "--round-to", "bfloat16"))
    done(*searched)
    assert done("sql", "--store", store, "--format", "csv", rounded).out.split()[1:] == ["bfloat16"]
