"""`neuronmill correlate` as a user meets it."""

from __future__ import annotations

import csv
import io
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Workplace, done, hashes, neuronmill, unchanged


def rows(store: Path, query: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(done("sql", "--store", store, "--format", "csv", query).out)))


def test_a_model_beside_itself_and_every_reader_afterwards(
    finished: Path, copy_of: Callable[[Path], Path], tmp_path: Path
) -> None:
    store = copy_of(finished)
    before = hashes(store)
    top = done("top", "--store", store, "--concept", "upos=NOUN").out
    agreed = done("agree", "--store", store).out
    asked = ("correlate", "--store", store, "--with", "tiny", "--layers", "1,2", "--column", "length")
    dry = done(*asked, "--dry-run")
    assert re.search(r"would compare \d+ neurons with \d+ neurons of tiny: [\d.]+ [kM]B of co-moments", dry.out)
    assert "would correlate with length" in dry.out
    assert "correlate to do" in dry.out
    assert hashes(store) == before
    result = done(*asked)
    assert re.search(r"words aligned; of tiny [\d,]+ \(0 unaligned\)", result.out + result.err)
    assert re.search(
        r"^tiny: median MaxCorr 1.000 \(null 0.\d+\), .*index: 100.0% of neurons$", result.out, re.MULTILINE
    )
    assert re.search(r"^  resid:1 and resid:2 of tiny: debiased CKA 0.\d+ \(null -?0.\d+\)$", result.out, re.MULTILINE)
    assert re.search(r"^length: [\d,]+ words; largest \|r\| 0.\d+ \(null 0.\d+\)", result.out, re.MULTILINE)
    assert re.search(
        r"^wrote \d+ rows of `rankings`, \d+ rows of `match_nulls`, \d+ rows of `layer_similarity`, \d+ rows of",
        result.out,
        re.MULTILINE,
    )
    (line,) = re.findall(r"^next: neuronmill (.*)$", result.out, re.MULTILINE)
    assert "cka_debiased" in done(*shlex.split(line)).out
    assert unchanged({p: h for p, h in before.items() if p.startswith(("rankings/", "activations/"))}, store)
    (best,) = rows(
        store, "SELECT * FROM rankings WHERE method = 'maxcorr' AND neuron = 3 AND component = 'mlp' AND layer = 1"
    )
    assert (best["concept"], best["score"], best["partner"]) == ("", "1.0", "tiny:mlp:1:3")
    assert done("top", "--store", store, "--concept", "upos=NOUN").out == top
    assert done("agree", "--store", store).out.replace(str(store), "") == agreed.replace(str(store), "")
    done("explain", "--store", store)
    done("report", "--store", store, "--output", tmp_path / "page.html")
    done("publish", "--store", store)
    assert rows(store, "SELECT count(*) AS n FROM neuron_ap('mlp', 1, 3, 'upos=NOUN')") == [{"n": "1"}]
    assert "0 to do" not in done("status", "--store", store).out
    done("verify", "--store", store)
    kept = hashes(store / "rankings")
    again = done(*asked)
    assert again.out == result.out
    assert hashes(store / "rankings") == kept
    (line,) = re.findall(
        r"^next: neuronmill (.*)$", done("correlate", "--store", store, "--column", "position").out, re.MULTILINE
    )
    assert "position" in done(*shlex.split(line)).out


def test_rankings_across_models_alone_are_nothing_to_show(workplace: Workplace, tmp_path: Path) -> None:
    config = workplace.config(tmp_path / "c.yaml", tmp_path / "store", dump={"layers": [1], "components": ["mlp"]})
    done("plan", config, "--no-pilot")
    asked = ("correlate", "--store", tmp_path / "store", "--with", "tiny", "--methods", "maxcorr")
    result = neuronmill(*asked)
    assert (result.code, "not dumped yet" in result.error) == (1, True)
    done("dump", config)
    done(*asked)
    assert rows(tmp_path / "store", "SELECT DISTINCT method, unit, split FROM rankings") == [
        {"method": "maxcorr", "unit": "word", "split": "all"}
    ]
    for command in (("top", "--concept", "upos=NOUN"), ("report",), ("agree",)):
        shown = neuronmill(*command, "--store", tmp_path / "store")
        assert shown.code == 2
        assert "ranking" in shown.error


def test_run_correlates_with_its_section(workplace: Workplace, finished: Path, tmp_path: Path) -> None:
    def config(other: Path | str, **sections: object) -> Path:
        return workplace.config(
            tmp_path / "c.yaml",
            tmp_path / "store",
            dump={"layers": [1], "components": ["mlp"]},
            correlate={"with": [str(other)], "methods": ["maxcorr", "cka"], "columns": ["length"], "layers": [1]},
            **sections,
        )

    planned = tmp_path / "planned"
    done("plan", workplace.config(tmp_path / "p.yaml", planned), "--no-pilot")
    result = neuronmill("run", config(planned))
    assert (result.code, "not dumped yet" in result.error) == (1, True)
    assert not (tmp_path / "store" / "activations").exists()
    result = neuronmill("run", config("nobody"))
    assert (result.code, "correlate.with: 'nobody' is neither" in result.error) == (2, True)
    done("run", config(finished))
    found = rows(tmp_path / "store", "SELECT DISTINCT partner_model, partner_store, measure FROM layer_similarity")
    assert {row["partner_store"] for row in found} == {str(finished)}
    assert {row["measure"] for row in found} == {"maxcorr", "cka", "cka_debiased"}
    assert len(rows(tmp_path / "store", "FROM column_correlations")) == 24
    partners = rows(tmp_path / "store", "SELECT partner, score FROM rankings WHERE concept IS NULL")
    assert all(row["partner"].startswith(f"{finished}::tiny:mlp:1:") for row in partners)
    assert all(float(row["score"]) > 0.999 for row in partners)
    before = hashes(tmp_path / "store" / "rankings")
    done("run", config(finished))
    assert hashes(tmp_path / "store" / "rankings") == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to correlate with"),
        (["--with", "nobody"], "'nobody' is neither a model of this store"),
        (["--with", "tiny", "--methods", "svca"], "correlate.methods[0]"),
        (["--with", "tiny", "--layers", "7"], "nothing of model 'tiny' is left"),
        (["--with", "tiny", "--layers", "x"], "--layers 'x'"),
        (["--with", "tiny", "--ridge", "-1"], "correlate.ridge"),
        (["--column", "surprisal"], "'surprisal' is no number of words here"),
        (["--column", "upos"], "which is no finite number"),
    ],
)
def test_wrong_requests_are_one_line(finished: Path, arguments: list[str], message: str) -> None:
    before = hashes(finished)
    result = neuronmill("correlate", "--store", finished, *arguments)
    assert result.code == 2
    assert message in result.error
    after = hashes(finished)
    assert {p: h for p, h in after.items() if not p.startswith("leases/")} == before


def test_a_store_that_was_moved_is_named_anew(finished: Path, copy_of: Callable[[Path], Path], tmp_path: Path) -> None:
    """What was compared with a store that is gone stays, and verifying, collecting and publishing go on."""
    store = copy_of(finished)
    there = Path(shutil.copytree(finished, tmp_path / "there"))
    done("correlate", "--store", store, "--with", there, "--layers", "1", "--methods", "maxcorr,cka")
    shutil.rmtree(there)
    done("verify", "--store", store)
    done("gc", "--store", store, "--superseded")
    done("publish", "--store", store)
    assert rows(store, "SELECT DISTINCT partner_store FROM layer_similarity") == [{"partner_store": str(there)}]
