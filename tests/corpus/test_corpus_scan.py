"""The first pass: counts, layers, splits, checksums, fingerprint."""

import hashlib

import pytest

from pipeline.corpus.scan import scan
from pipeline.corpus.summary import CorpusSummary
from schemas.config import CorpusConfig
from schemas.errors import CorpusError


def conll(folder, **files):
    for name, content in files.items():
        (folder / f"{name}.conll").write_text(content)
    return CorpusConfig(sources=[str(folder)], columns=["pos"])


def test_everything_is_counted_once(tmp_path):
    config = conll(tmp_path, a="# document d\na\tN\nb\tV\n\nc\tN\n", b="# document d\nd\tN\n\n# document e\ne\t\n")
    summary = scan(config)
    assert (summary.n_documents, summary.n_sentences, summary.n_words, summary.n_chars) == (3, 4, 5, 6)
    assert summary.layers == {"pos": {"N": 3, "V": 1}}
    assert summary.splits == {"": 4}
    raw = (tmp_path / "a.conll").read_bytes()
    row = {
        "name": str(tmp_path / "a.conll"),
        "relative": "a.conll",
        "n_bytes": len(raw),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "split": None,
    }
    assert summary.sources[0] == row
    assert CorpusSummary.from_json(summary.to_json()) == summary


def test_document_labels_count_documents_and_sentence_labels_sentences(tmp_path):
    word = "1\tx" + "\t_" * 8
    blocks = [
        "# newdoc\n# meta::genre = news\n" + word,
        "# label::mood = glad\n" + word,
        "# label::mood = glad\n" + word,
    ]
    (tmp_path / "a.conllu").write_text("\n\n".join(blocks))
    summary = scan(CorpusConfig(sources=[{"path": str(tmp_path), "split": "train"}]))
    assert summary.document_labels == {"genre": {"news": 1}}
    assert summary.sentence_labels == {"mood": {"glad": 2}}
    assert summary.splits == {"train": 3}


def test_the_fingerprint_covers_bytes_and_settings_and_no_folder(tmp_path):
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    same, moved, other = (
        conll(folder, x=content) for folder, content in zip(folders, ["a\tN\n", "a\tN\n", "a\tV\n"], strict=True)
    )
    fingerprints = [scan(config).fingerprint for config in (same, moved, other)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert scan(same.model_copy(update={"columns": ("tag",)})).fingerprint != fingerprints[0]


def test_label_files_are_sources_too(tmp_path):
    (tmp_path / "w").write_text("a\n")
    (tmp_path / "w.pos").write_text("A\n")
    summary = scan(CorpusConfig(sources=[str(tmp_path / "w")], format="paired", columns=["pos"]))
    assert [source["name"] for source in summary.sources] == [str(tmp_path / "w"), str(tmp_path / "w.pos")]
    before = summary.fingerprint
    (tmp_path / "w.pos").write_text("B\n")
    assert scan(CorpusConfig(sources=[str(tmp_path / "w")], format="paired", columns=["pos"])).fingerprint != before


def test_a_corpus_with_nothing_left_is_an_error_even_when_skipping(tmp_path):
    config = conll(tmp_path, a="a\tN\textra\n").model_copy(update={"on_error": "skip"})
    items = []
    with pytest.raises(CorpusError, match="1 pieces were skipped"):
        scan(config, items.append)
    assert len(items) == 1


def test_quarantined_pieces_are_counted(tmp_path):
    config = conll(tmp_path, a="a\tN\n\nb\n\nc\tN\n").model_copy(update={"on_error": "skip"})
    assert scan(config).n_quarantined == 1


def test_layers_that_differ_in_case_only_are_an_error(tmp_path):
    (tmp_path / "a.conllu").write_text("1\tx\t_\t_\t_\tNum=A|num=B\t_\t_\t_\t_\n")
    with pytest.raises(CorpusError, match=r"'feat_Num' and 'feat_num'"):
        scan(CorpusConfig(sources=[str(tmp_path)]))


def test_a_hash_split_that_leaves_a_split_empty_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("One. Two. Three.\n")
    with pytest.raises(CorpusError, match=r"corpus\.split: .*got none; draw `by: sentence`"):
        scan(CorpusConfig(sources=[str(tmp_path)], split={"test": 0.5}))


def test_an_open_ended_layer_stops_collecting_values(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.corpus.scan.MAX_VALUES", 3)
    config = conll(tmp_path, a="".join(f"w\tv{i}\n\n" for i in range(9)) + "w\tv0\n")
    summary = scan(config)
    assert summary.open_layers == ["pos"]
    assert summary.layers["pos"] == {"v0": 2, "v1": 1, "v2": 1, "v3": 1}
