"""`run` is the stages in order: the same results, and nothing to do the second time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from command import Workplace, done, hashes, neuronmill, unchanged

from jobs.options import parse_concepts

_SCORES = (
    "SELECT component, layer, neuron, concept, method, score, sign, rank, threshold, n_rows, n_pos, base_rate, "
    "p_value, q_value, heldout_score, unit, split, params "
    "FROM rankings ORDER BY concept, method, rank, component, layer, neuron"
)
_TABLES = ("rankings", "neuron_stats", "contexts", "labels", "activations", "words", "tokens", "rows")


def query(store: Path, sql: str) -> list[str]:
    return done("sql", "--store", store, "--format", "csv", sql).out.splitlines()


def tables(store: Path) -> dict[str, dict[str, str]]:
    return {name: hashes(store / name) for name in _TABLES}


def test_a_run_says_what_it_wrote_and_what_is_next(workplace: Workplace, tmp_path: Path) -> None:
    store = tmp_path / "a store"
    result = done("run", workplace.config(tmp_path / "config.yaml", store))
    for said in ("run ", "tiny (bert; resid 16, mlp 24 neurons a layer)", "shards", "MB)", "snapshot: ", "page: "):
        assert said in result.out
    assert f"next: neuronmill top --store '{store}' --concept upos=" in result.out
    for stage in ("scan", "plan", "label", "dump tiny", "stats", "search", "contexts"):
        assert f"{stage}: " in result.err
    assert "\r" not in result.err
    assert "\x1b" not in result.err + result.out


def test_a_second_run_does_nothing(finished: Path, workplace: Workplace) -> None:
    def contents() -> dict[str, str]:
        found = hashes(finished).items()
        return {path: digest for path, digest in found if path != "report.html" and not path.startswith("staging/")}

    before = contents()
    manifests = sorted((finished / "manifest").iterdir())
    config = workplace.config(workplace.folder / "finished.yaml", finished)
    started = time.monotonic()
    result = done("run", config)
    assert time.monotonic() - started < 10
    assert sorted((finished / "manifest").iterdir()) == manifests
    assert contents() == before
    assert "already done" in result.err


@pytest.mark.parametrize("by", ["config", "store"])
def test_stage_by_stage_is_the_same(by: str, finished: Path, workplace: Workplace, tmp_path: Path) -> None:
    store = tmp_path / "store"
    config = workplace.config(tmp_path / "config.yaml", store)
    assert f"next: neuronmill dump --store {store}" in done("plan", config).out
    place = [config] if by == "config" else ["--store", store]
    for stage, following in (("dump", "stats"), ("stats", "sql"), ("search", "top"), ("contexts", "publish")):
        assert f"next: neuronmill {following} --store {store}" in done(stage, *place).out
    done("publish", "--store", store)
    assert (store / "report.html").exists() is False
    done("report", *place)
    assert (store / "report.html").stat().st_size > 1000
    assert tables(store) == tables(finished)
    assert query(store, _SCORES) == query(finished, _SCORES)


@pytest.mark.parametrize(
    ("stage", "said"),
    [("stats", "dump"), ("search", "dump"), ("contexts", "dump"), ("report", "rankings"), ("top", "search")],
)
def test_a_stage_too_early_names_the_one_before(stage: str, said: str, planned: Path) -> None:
    before = hashes(planned)
    extra = ["--concept", "upos=NOUN"] if stage == "top" else []
    result = neuronmill(stage, "--store", planned, *extra)
    assert result.code in (1, 2), result.err
    assert said in result.error, result.error
    assert hashes(planned) == before


def test_nothing_is_planned(workplace: Workplace, tmp_path: Path) -> None:
    config = workplace.config(tmp_path / "config.yaml", tmp_path / "store")
    for stage in ("dump", "stats", "search", "contexts", "report"):
        result = neuronmill(stage, config)
        assert result.code == 2
        assert "no store here" in result.error
        assert "CONFIG.yaml" in neuronmill(stage).error
    assert not (tmp_path / "store").exists()


FILTERS = {
    ("--methods", "ap,auroc"): "method IN ('ap', 'auroc')",
    ("--concepts", "upos=NOUN,long"): "concept IN ('upos=NOUN', 'long')",
    ("--layers", "0,2"): "layer IN (0, 2)",
    ("--layers", "1-2"): "layer BETWEEN 1 AND 2",
    ("--components", "mlp"): "component = 'mlp'",
    ("--keep", "3"): "rank <= 3",
}


def test_filters_of_a_search(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    columns = "component, layer, neuron, concept, method, score, sign, threshold, n_pos, heldout_score"
    order = "ORDER BY ALL"
    for (option, value), condition in FILTERS.items():
        done("search", "--store", store, option, value)
        expected = query(finished, f"SELECT {columns} FROM rankings WHERE {condition} {order}")
        assert len(expected) > 1
        assert query(store, f"SELECT {columns} FROM rankings {order}") == expected, option
    done("search", "--store", store, "--keep", "all", "--alpha", "0.1", "--methods", "iou")
    assert query(store, "SELECT DISTINCT params->>'alpha' FROM rankings")[1:] == ["0.1"]
    done("search", "--store", store)
    assert query(store, _SCORES) == query(finished, _SCORES)


@pytest.mark.parametrize(
    ("values", "concepts"),
    [
        (["a,b"], ("a,b",)),
        (["a", "b"], ("a", "b")),
        (["b, c ,", "a,b", "c"], ("b", "c", "a,b")),
        (["p=,"], ("p=,",)),
        (["a,x"], ("a", "x")),
    ],
)
def test_a_comma_is_part_of_a_concept_or_between_two(values: list[str], concepts: tuple[str, ...]) -> None:
    assert parse_concepts(tuple(values), {"a", "b", "c", "a,b", "p=,"}) == concepts


def test_concepts_with_commas_can_be_searched_for(
    finished: Path, workplace: Workplace, copy_of: Callable[[Path], Path]
) -> None:
    store = copy_of(finished)
    pets = [{"name": name, "words": name.split(",")} for name in ("cat,dog", "cat", "dog")]
    config = workplace.config(store.parent / "config.yaml", store, concepts={"include": pets})
    found = "SELECT DISTINCT concept FROM rankings ORDER BY ALL"
    for options, said in (
        (["--concepts", "cat,dog"], ['"cat,dog"']),
        (["--concepts", "dog,cat"], ["cat", "dog"]),
        (["--concepts", "cat,dog", "--concepts", "dog"], ['"cat,dog"', "dog"]),
    ):
        done("search", config, *options)
        assert query(store, found)[1:] == said
    assert "'bird' is not a concept" in neuronmill("search", config, "--concepts", "cat,bird").error


def test_a_config_stays_with_the_plan_and_options_do_not(
    finished: Path, workplace: Workplace, copy_of: Callable[[Path], Path]
) -> None:
    store = copy_of(finished)
    config = workplace.config(store.parent / "config.yaml", store, search={"keep": 2})
    n_kept = "SELECT max(rank) FROM rankings"
    before = hashes(store / "settings")
    done("search", config, "--dry-run")
    assert neuronmill("search", config, "--layers", "77").code == 2
    assert hashes(store / "settings") == before
    done("search", config, "--keep", "3")
    assert query(store, n_kept)[1:] == ["3"]
    done("search", "--store", store)
    assert query(store, n_kept)[1:] == ["2"]


def test_concepts_with_too_few_positives(finished: Path, workplace: Workplace, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    path = store.parent / "config.yaml"
    result = done("search", workplace.config(path, store, search={"min_positives": 150}))
    assert "concepts with too few positive rows to select on left out" in result.err
    before = hashes(store)
    config = workplace.config(path, store, search={"min_positives": 9999, "concepts": ["long"]})
    result = neuronmill("search", config)
    assert result.code == 2
    assert "search.concepts: 'long' has " in result.error
    assert "search.min_positives 9999" in result.error
    assert unchanged(before, store)


def test_options_of_contexts(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    done("contexts", "--store", store, "--k", "1", "--window", "0")
    assert query(store, "SELECT max(rank), max(len(words)) FROM contexts")[1:] == ["1,1"]


def test_workers_do_not_change_a_byte(planned: Path, finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(planned)
    done("dump", "--store", store, "--workers", "2")
    assert hashes(store / "activations") == hashes(finished / "activations")


def test_a_snapshot_is_enough_after_a_move(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    snapshot = (store / "CURRENT").read_text().strip().strip('"{}')
    assert f"published {store}/snapshots/" in done("publish", "--store", store).out
    databases = list(store.glob("snapshots/*/neuronmill.duckdb"))
    assert len(databases) == 1
    assert databases[0].parent.name in snapshot
    moved = databases[0].rename(store.parent / "rankings.duckdb")
    with duckdb.connect(str(moved), read_only=True) as connection:
        found = connection.sql(_SCORES).fetchall()
        about = connection.sql("FROM about").fetchall()
    assert len(found) == len(query(finished, _SCORES)) - 1
    assert about


def test_a_moved_store_goes_on(planned: Path, finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(planned)
    for stage in ("dump", "stats", "search", "contexts", "publish", "report", "verify"):
        done(stage, "--store", store)
    assert (store / "report.html").exists()
    assert query(store, _SCORES) == query(finished, _SCORES)


def test_a_report_elsewhere(finished: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert str(page) in done("report", "--store", finished, "--output", page).out
    assert "upos=NOUN" in page.read_text(encoding="utf-8")
    (tmp_path / "letter").write_text("x")
    result = neuronmill("report", "--store", finished, "--output", tmp_path / "letter" / "page.html")
    assert result.code in (1, 2)
    assert "another path" in result.error
