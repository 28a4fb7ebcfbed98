"""Mergeable statistics of neurons: arrays in, arrays out.

Every state is a commutative monoid over batches of rows: ``empty``, ``update``, ``merge``, ``finalize``; ``arrays`` and
``from_arrays`` persist it. Blocks are neuron-major (N neurons, T rows) and hold counted rows only. Letters:
T rows, N neurons, C concepts, B bins.
"""

from pipeline.stats.codes import bits_to_float32, decode_codes, encode_codes, round_to_bits
from pipeline.stats.concept_histogram import ConceptHistogram
from pipeline.stats.concept_moments import ConceptMoments
from pipeline.stats.cross_moments import CrossMoments
from pipeline.stats.label_matrix import LabelMatrix
from pipeline.stats.moments import Moments
from pipeline.stats.neuron_stats import neuron_statistics
from pipeline.stats.top_rows import ExtremeRows, TopRows
from pipeline.stats.value_histogram import ValueHistogram
from pipeline.stats.word_moments import WordMoments, WordRows, shrunken_means

__all__ = [
    "ConceptHistogram",
    "ConceptMoments",
    "CrossMoments",
    "ExtremeRows",
    "LabelMatrix",
    "Moments",
    "TopRows",
    "ValueHistogram",
    "WordMoments",
    "WordRows",
    "bits_to_float32",
    "decode_codes",
    "encode_codes",
    "neuron_statistics",
    "round_to_bits",
    "shrunken_means",
]
