"""What was skipped is listed in bounded memory, and counted to the last piece."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from pipeline.corpus.quarantine_list import QuarantineList
from pipeline.corpus.scan import scan
from pipeline.corpus.sentence import Quarantined, quarantine
from schemas.config import CorpusConfig

_MEASURE = """
import resource, sys
from pipeline.corpus.quarantine_list import QuarantineList
from pipeline.corpus.scan import scan
from schemas.config import CorpusConfig
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
skipped = QuarantineList()
summary = scan(CorpusConfig(sources=[sys.argv[1]], on_error="skip"), skipped.add)
print(summary.n_quarantined, len(skipped.items()), skipped.items()[-1].rule)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def _item(line: int, n_pieces: int = 1) -> Quarantined:
    return Quarantined("a.txt", line, "a rule", "found", "do that", n_pieces)


def test_up_to_the_limit_every_piece_is_listed():
    items = [_item(line) for line in range(5)]
    assert QuarantineList(5, items).items() == items
    assert QuarantineList(5).items() == []


def test_what_is_beyond_the_limit_is_one_item_that_counts():
    listed = QuarantineList(5, (_item(line) for line in range(1_205))).items()
    assert [item.line for item in listed] == list(range(6))
    assert (listed[5].n_pieces, listed[5].excerpt) == (1_200, "")
    assert listed[5].rule == "1,200 pieces from here on were skipped and are not listed one by one"


@pytest.mark.parametrize("seed", range(5))
def test_no_piece_is_lost_in_lists_of_lists(seed):
    rng = random.Random(seed)
    whole = QuarantineList(7)
    n = 0
    for _ in range(rng.randint(1, 6)):
        n_part = rng.randint(0, 9)
        part = QuarantineList(rng.randint(1, 4), (_item(line) for line in range(n_part)))
        n += n_part
        for item in part.items():
            whole.add(item)
    assert sum(item.n_pieces for item in whole.items()) == n
    assert len(whole.items()) <= 8


def test_a_scan_counts_what_an_item_stands_for(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "Good day."}\n' + "{\n" * 30)
    skipped = QuarantineList(10)
    assert scan(CorpusConfig(sources=[str(path)], on_error="skip"), skipped.add).n_quarantined == 30
    assert [item.n_pieces for item in skipped.items()] == [1] * 10 + [20]


def test_rules_that_quote_what_they_found_are_cut():
    item = quarantine("a.txt", 3, f"a rule of {'x' * 10**6}", "found", f"one of \ud800{'y' * 10**6}")
    assert len(item.message) < 1_100
    assert item.message.encode().decode() == item.message


def test_a_word_of_a_megabyte_that_is_not_in_its_text_has_a_short_error(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "Good day.", "words": ["w" * 2**20]}) + '\n{"text": "Good day."}\n')
    skipped = QuarantineList()
    scan(CorpusConfig(sources=[str(path)], format="sentences", on_error="skip"), skipped.add)
    assert len(skipped.items()[0].message) < 1_000


def test_memory_is_that_of_the_list_and_not_of_what_is_skipped(tmp_path):
    """200,000 lines that are no JSON, each with its own excerpt: kept, they would take 200 MB."""
    path = tmp_path / "bad.jsonl"
    path.write_text(
        '{"text": "Good day."}\n' + "".join(f"{number:06d}{'x' * 300}\n" for number in range(200_000)), encoding="ascii"
    )
    command = [sys.executable, "-c", _MEASURE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said, _, grown = done.stdout.strip().rpartition("\n")
    assert said == "200000 10001 190,000 pieces from here on were skipped and are not listed one by one"
    assert int(grown) < 60
