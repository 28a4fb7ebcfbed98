"""`agree`: rankings compared on the terminal, in a file and on a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
import scipy.stats
from command import done, hashes, neuronmill

METHODS = {"ap", "auroc", "iou", "best_iou", "mean_diff"}


@pytest.fixture(scope="module")
def rankings(finished: Path) -> pd.DataFrame:
    text = done("sql", "--store", finished, "--format", "json", "FROM rankings").out
    return pd.DataFrame(json.loads(text))


def test_the_file_equals_sets_and_scipy(finished: Path, rankings: pd.DataFrame, tmp_path: Path) -> None:
    before, file = hashes(finished), tmp_path / "agree.parquet"
    done("agree", "--store", finished, "--k", "7", "--output", file)
    assert hashes(finished) == before
    found = pd.read_parquet(file)
    assert set(found["measure"]) == {"jaccard", "overlap", "spearman", "avg_overlap", "neuron_vote"}
    assert set(found["ranking"]) == METHODS
    pairs = found[found["other_ranking"].notna()].set_index(["concept", "measure", "ranking", "other_ranking"])
    for concept, of_concept in rankings.dropna(subset="score").groupby("concept"):
        lists = {
            m: f.set_index(["component", "layer", "neuron"]).sort_values("rank")
            for m, f in of_concept.groupby("method")
        }
        for a, b in combinations(sorted(lists), 2):
            first, second = set(lists[a].index[:7]), set(lists[b].index[:7])
            row = pairs.loc[(concept, "jaccard", a, b)]
            assert row["value"] == len(first & second) / len(first | second)
            both = lists[a].join(lists[b], suffixes=("_a", "_b"), how="inner")
            row = pairs.loc[(concept, "spearman", a, b)]
            assert row["n"] == len(both)
            assert row["value"] == pytest.approx(scipy.stats.spearmanr(both["score_a"], both["score_b"]).statistic)
    found["other_ranking"] = found["other_ranking"].fillna("")
    means = found[found["concept"].isna()]
    of_concepts = found[found["concept"].notna()].groupby(["measure", "ranking", "other_ranking"])
    expected = of_concepts["value"].mean()
    for row in means.itertuples():
        assert row.value == pytest.approx(expected[row.measure, row.ranking, row.other_ranking])


def test_the_terminal(finished: Path) -> None:
    result = done("agree", "--store", finished, "--by-concept")
    assert result.out.startswith("5 rankings, mean over 6 concepts, first 10 neurons\n")
    assert "Jaccard: neurons in both top lists" in result.out
    assert re.search(r"^ +upos=NOUN +\d\.\d{3}", result.out, re.MULTILINE)
    assert f"next: neuronmill agree --store {finished} --page agreement.html" in result.out
    fewer = done("agree", "--store", finished, "--methods", "ap,iou", "--concepts", "long,upos=NOUN", "--k", "3").out
    assert fewer.startswith("2 rankings, mean over 2 concepts, first 3 neurons\n")


def test_two_stores(finished: Path, copy_of: Callable[[Path], Path], tmp_path: Path) -> None:
    other, file = copy_of(finished), tmp_path / "a.csv"
    done("agree", "--store", finished, "--with", other, "--methods", "ap", "--output", file)
    found = pd.read_csv(file)
    assert set(found["ranking"]) == {"finished ap", "copy of a store ap"}
    assert (found["value"] == 1).all()


def test_the_page(finished: Path, tmp_path: Path) -> None:
    page = tmp_path / "folder" / "agree.html"
    result = done("agree", "--store", finished, "--page", page)
    assert f"wrote {page} (" in result.out
    assert result.out.endswith("next: open it in a browser\n")
    text = page.read_text(encoding="utf-8")
    figures = json.loads(re.findall(r'<script type="application/json" id="figures">(.*?)</script>', text)[0])
    assert set(figures["labels"]) == METHODS
    assert [figures["mean"]["jaccard"]["values"][i][i] for i in range(5)] == [1.0] * 5
    assert len(figures["concepts"]) == 6
    assert "default-src 'none'" in text
    assert str(finished) not in text


def test_a_dry_run_writes_nothing(finished: Path, tmp_path: Path) -> None:
    result = done(
        "agree", "--store", finished, "--dry-run", "--page", tmp_path / "x.html", "--output", tmp_path / "x.csv"
    )
    assert result.out == "would compare 5 rankings for 6 concepts\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--methods", "ap"], "it takes two rankings"),
        (["--methods", "ap,apx"], "'apx' has no rankings here"),
        (["--model", "nobody"], "'nobody' has no rankings here"),
        (["--concepts", "nope"], "concept 'nope' has no ranking here"),
        (["--output", "a.txt"], "must end with .csv, .json, .parquet"),
        (["--page", "/dev/null/a.html"], "give another path (--page)"),
    ],
)
def test_what_cannot_be_compared_is_explained(options: list[str], said: str, finished: Path) -> None:
    result = neuronmill("agree", "--store", finished, *options)
    assert result.code == 2
    assert said in result.error


def test_a_store_without_rankings(planned: Path) -> None:
    result = neuronmill("agree", "--store", planned)
    assert (result.code, "there are none" in result.error) == (2, True)
