"""Write a first config for a corpus and a model: commented, runnable as it is, with every label layer found."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.corpus.annotate import annotate
from pipeline.corpus.guess import guess_corpus
from pipeline.corpus.label_values import merged_values
from pipeline.corpus.reader import PLAIN_TEXT, read_corpus, read_passages
from pipeline.corpus.scan import scan
from pipeline.corpus.sources import expand
from pipeline.corpus.summary import CorpusSummary
from schemas.config import AnnotateConfig, ConceptsConfig, CorpusConfig

#: Concepts taken from one layer at most; of layers with more values (lemmas) the most frequent ones.
MAX_VALUES = 60
#: Columns of a corpus that point to another word and label nothing.
NO_LABELS = frozenset({"head"})
#: Words a value must hold for to be worth a ranking: rarer ones get an AP near 1 by chance.
MIN_COUNT = 20
#: Words (sentences, documents) from which on a corpus has values enough to do without rarer ones.
LARGE = 1000
#: Layers in the order of the report's rows: what is known of each word, then names of all kinds, lemmas last.
ORDER = ("upos", "xpos", "feat_", "deprel", "entity", "", "misc_", "lemma")
#: Read to see what a tagger would find, and which patterns match.
SAMPLE_PASSAGES = 50
SAMPLE_SENTENCES = 1000
#: Concepts where there are no labels.
PATTERNS = {"capitalised": "[A-Z][a-z]+", "number": "[0-9][0-9.,]*"}

_SPLIT_NAME = re.compile(r"(^|[^a-z])(train|dev|test)([^a-z]|$)", re.IGNORECASE)

_TEMPLATE = """\
# neuronmill config; start it with: neuronmill run {output}
# Every key is described in docs/reference/config.md.

store: {store}

corpus:
  sources: {corpus}
  format: {format}
{corpus_more}
model:
  name: {model}
  compute_dtype: float32        # bfloat16 is 2 to 3 times faster on recent hardware, and rounds

dump:
  components: [resid, mlp]      # resid: block outputs, layer 0 the embeddings; mlp: FFN neurons
  unit: token                   # or word, sentence (pooled)
  dtype: float16                # bfloat16 where activations exceed 65,504
{annotate}
concepts:
  include:
{concepts}
search:
  methods: [ap, auroc, iou, best_iou, mean_diff]
  keep: 100                     # best neurons kept per concept and method

contexts: {{k: 10, window: 5}}
{report}
executor:
  kind: local                   # or ray
  workers: 1
"""


def starter_config(corpus: str, model: str, store: str, output: str, file_format: str = "auto") -> str:
    """The YAML text of a config for ``corpus`` (a path, glob or URL) and ``model``.

    The corpus is read once to learn its label layers. Plain text without any gets an ``annotate`` section if a tagger
    is installed and the store is local, with the layers that its first passages show; else some words and patterns of
    it are the concepts. What is left out is named in comments.
    """
    guess = guess_corpus(corpus, file_format)
    base = guess.config
    summary = scan(base)
    sources, told = _sources(base)
    draws_split = not told and set(summary.splits) == {""} and summary.n_sentences >= MIN_COUNT
    concepts = _layers(summary, guess.left_out)
    is_text = base.format in PLAIN_TEXT
    is_remote = "://" in store and not store.startswith("file://")
    has_labels = any(not line.lstrip().startswith("#") for line in concepts)
    tags = is_text and not has_labels and not is_remote and find_spec(AnnotateConfig().tagger) is not None
    if tags:
        concepts += _layers(_annotated_sample(base), {})
    if tags or is_text or not has_labels:
        concepts += _patterns(base)
    return _TEMPLATE.format(
        output=output,
        store=_quoted(store),
        corpus=sources,
        model=_quoted(model),
        format=base.format,
        corpus_more=_fields(base, guess.left_out) + (_split_line(summary) if draws_split else ""),
        annotate=_annotate(tags, output, is_remote=is_remote) if is_text else "",
        concepts="\n".join(concepts) + "\n",
        report=f"\nreport: {{path: {_quoted(Path(output).stem + '.html')}}}    # a local file\n" if is_remote else "",
    )


def _annotate(tags: bool, output: str, *, is_remote: bool) -> str:
    """The ``annotate`` section of plain text, or a comment on how to get one."""
    if tags:
        return "\nannotate: {}                    # label the text with spaCy first\n"
    if is_remote:
        return (
            "\n# To label the words with spaCy, which writes to a local folder and not to a remote store:\n"
            f"#   neuronmill annotate {output} --output DIR\n"
            "# then `neuronmill init --corpus DIR` writes a config of the labelled corpus.\n"
        )
    return (
        "\n# annotate: {}                  # labels the words with spaCy (extra `annotate`); then add, for example,\n"
        "#                               # `- {layer: upos}` to the concepts\n"
    )


def _layers(summary: CorpusSummary, left_out: Collection[str]) -> list[str]:
    """Lines of ``concepts.include`` for every layer and label of a corpus that says something."""
    both = summary.layers.keys() & summary.sentence_labels.keys()
    words = {name: values for name, values in summary.layers.items() if name not in both}
    labels = {name: values for name, values in summary.sentence_labels.items() if name not in left_out}
    found = (
        ("layer", words, summary.n_words),
        ("sentence_label", labels, summary.n_sentences),
        ("document_label", summary.document_labels, summary.n_documents),
    )
    lines = [
        line
        for option, layers, total in found
        for name, values in sorted(layers.items(), key=lambda item: (_place(item[0]), item[0]))
        if name not in NO_LABELS and (line := _line(name, option, values, total, summary))
    ]
    # the same values twice would fill the report twice; the sentence label holds at every unit
    return lines + [
        f"    # - {{layer: {_quoted(name)}}}    # the same values, on single words" for name in sorted(both)
    ]


def _place(name: str) -> int:
    """Index in :data:`ORDER` of a layer's name, or of the beginning of it."""
    return next(
        (i for i, part in enumerate(ORDER) if name == part or (part.endswith("_") and name.startswith(part))),
        ORDER.index(""),
    )


def _annotated_sample(corpus: CorpusConfig) -> CorpusSummary:
    """What the tagger finds in the first passages: every value of it is in the whole corpus too."""
    texts = [passage.text for passage in islice(read_passages(corpus, lambda _: None), SAMPLE_PASSAGES)]
    with TemporaryDirectory() as folder:
        sample = Path(folder, "sample.jsonl")
        sample.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        return scan(
            annotate(CorpusConfig.model_validate({"sources": str(sample)}), AnnotateConfig(), f"{folder}/parts")
        )


def _patterns(corpus: CorpusConfig) -> list[str]:
    """Lines for the patterns that match a word among the first sentences, else for the most frequent word."""
    sentences = islice(read_corpus(corpus, lambda _: None), SAMPLE_SENTENCES)
    words = Counter(word for sentence in sentences for word in sentence.words)
    lines = [
        f"    - {{name: {name}, regex: '{pattern}'}}"
        for name, pattern in PATTERNS.items()
        if any(re.fullmatch(pattern, word) for word in words)
    ]
    return lines or [f"    - {{name: frequent, words: [{_quoted(words.most_common(1)[0][0])}]}}"]


def _fields(corpus: CorpusConfig, left_out: Mapping[str, str]) -> str:
    """Lines of the ``corpus`` section for what is not the default, and comments on the fields left out."""
    usual = CorpusConfig.model_fields
    lines = ""
    if corpus.text_field != usual["text_field"].default:
        lines += f"  text_field: {_quoted(corpus.text_field)}\n"
    for key, names in (("label_fields", corpus.label_fields), ("columns", corpus.columns)):
        if names:
            lines += f"  {key}: [{', '.join(map(_quoted, names))}]\n"
    return lines + "".join(f"  # left out: {_quoted(name)} ({reason})\n" for name, reason in left_out.items())


def _line(name: str, option: str, values: dict[str, int], total: int, summary: CorpusSummary) -> str:
    """One line of ``concepts.include``, a comment where it is no source of concepts; empty without any value."""
    usual = ConceptsConfig()
    merged = merged_values(values, usual.exclude_values, iob=usual.iob and option == "layer")
    counts = sorted((n for _, n in merged.values()), reverse=True)
    if not counts:
        return ""
    left_out = f"    # left out: {option} {_quoted(name)}"
    if name in summary.open_layers:
        return f"{left_out} (too many values; take some by `sql`, `regex` or `words`)"
    if counts == [total]:
        return f"{left_out} (the same everywhere)"
    if counts[0] < MIN_COUNT and total >= LARGE:
        return f"{left_out} (no value holds {MIN_COUNT} times)"
    least = min(MIN_COUNT, counts[0])
    if len(counts) > MAX_VALUES and counts[MAX_VALUES] >= least:
        if counts[MAX_VALUES] == counts[0]:
            return f"{left_out} ({len(counts)} values, none more frequent than others)"
        least = counts[MAX_VALUES] + 1
    n_kept = sum(n >= least for n in counts)
    return f"    - {{{option}: {_quoted(name)}, min_count: {least}}}    # {n_kept} of {len(counts)} values"


def _sources(base: CorpusConfig) -> tuple[str, bool]:
    """The YAML of ``corpus.sources``, and whether file names told the splits (`…train…`, `…dev…`, `…test…`)."""
    sources = expand(base)
    splits = [match[2].lower() if (match := _SPLIT_NAME.search(source.relative)) else None for source in sources]
    if None in splits or len(set(splits)) < 2 or "train" not in splits:
        return f"[{', '.join(_quoted(source.path) for source in base.sources)}]", False
    lines = [f"    - {{path: {_quoted(s.name)}, split: {split}}}" for s, split in zip(sources, splits, strict=True)]
    return "\n" + "\n".join(lines), True


def _split_line(summary: CorpusSummary) -> str:
    """A split drawn by hash, of documents where there are enough of them."""
    by = "document" if summary.n_documents >= MIN_COUNT else "sentence"
    return f"  split: {{by: {by}, test: 0.5}}    # neurons are selected on one half, re-measured on the other\n"


def _quoted(text: str) -> str:
    """A YAML double-quoted scalar: JSON's strings are that."""
    return json.dumps(text, ensure_ascii=False)
