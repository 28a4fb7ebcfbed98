"""What a config would come to, before anything is written: sizes from one reading of the corpus and a sample of it."""

from __future__ import annotations

from pipeline.corpus.scan import scan
from pipeline.corpus.sentence import Sentence
from pipeline.corpus.summary import CorpusSummary
from pipeline.extract.model_info import describe_model
from pipeline.extract.tokenizer import Encoder
from pipeline.run.capture_choice import describe_saes
from pipeline.run.ingest import encode_sentences
from pipeline.run.labelling import check_concepts
from pipeline.run.plan_record import Capture
from pipeline.run.planning import choose_capture, fitting_rows
from pipeline.run.sections import check_new_sections
from schemas.amounts import counted, human_bytes
from schemas.config import Config

#: Sentences that are tokenised to estimate the rows, at most and (of a corpus that has them) at least half of it.
_SAMPLED = 2000


class EverySentence:
    """Keeps every k-th sentence of a stream of unknown length, and k as small as :data:`_SAMPLED` allows."""

    def __init__(self) -> None:
        self.kept: list[Sentence] = []
        self._step = 1
        self._seen = 0

    def add(self, sentence: Sentence) -> None:
        """Look at the next sentence."""
        if self._seen % self._step == 0:
            self.kept.append(sentence)
        self._seen += 1
        if len(self.kept) > _SAMPLED:
            self.kept = self.kept[::2]
            self._step *= 2


def preview(config: Config) -> list[str]:
    """What planning and dumping ``config`` would come to; writes nothing, and loads no weights."""
    info = describe_model(config.model, config.dump.modules)
    capture = choose_capture(config, info, describe_saes(config.dump, info))
    check_new_sections(config, capture)
    sample = EverySentence()
    summary = scan(config.corpus, each=sample.add)
    if config.annotate is None:
        check_concepts(config.concepts, summary)
    encoder = Encoder(config.model, info, encode=config.dump.encode, long_sentences=config.dump.long_sentences)
    n_rows = round(_n_rows(summary, capture, sample.kept, encoder) * (capture.sample.share if capture.sample else 1))
    n_shards = -(-n_rows // (config.dump.rows_per_shard or fitting_rows(config.dump, capture)))
    amount = f"{counted(n_rows, 'row')} in {counted(n_shards, 'shard')}, {human_bytes(n_rows * capture.bytes_per_row)}"
    layers = f"{counted(len(capture.targets), 'layer')} captured, {counted(capture.bytes_per_row, 'byte')} a row"
    return [
        f"corpus: {summary.sizes}",
        f"model: {config.model_alias} ({info.architecture}), {layers}",
        f"dump: about {amount}, into {config.store}",
        "`neuronmill plan` measures how long it will take, and the memory of a worker",
    ]


def _n_rows(summary: CorpusSummary, capture: Capture, sample: list[Sentence], encoder: Encoder) -> float:
    """Rows of the whole corpus."""
    if capture.unit == "word":
        return summary.n_words
    if capture.unit == "sentence":
        return summary.n_sentences
    n_tokens = sum(len(encoded) for encoded in encode_sentences(sample, encoder))
    # more words, more tokens; special tokens come with the sentences, of which the sample has the same share
    n_words = sum(len(sentence.words) for sentence in sample)
    return n_tokens * (summary.n_words / n_words if n_words else summary.n_sentences / len(sample))
