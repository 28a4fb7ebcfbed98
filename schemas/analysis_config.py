"""The sections of a config that say what is computed from activations."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from schemas.components import Component, Numbers
from schemas.neuron_places import NeuronPlace, place_pieces, place_texts
from schemas.products_config import OfProducts
from schemas.section import Section

Method = Literal[
    "ap",
    "auroc",
    "iou",
    "best_iou",
    "f1",
    "mi",
    "mean_diff",
    "probeless",
    "selectivity",
    "cohen_d",
    "welch_t",
    "pearson",
]
#: Every method of neuron search.
METHODS: tuple[Method, ...] = get_args(Method)


class StatsConfig(Section):
    """Per-neuron statistics."""

    eps: Annotated[float, Field(ge=0)] = 0.0
    """A neuron with max |x| ≤ eps is dead."""


class SearchConfig(Section):
    """Neuron search: concept to ranked neurons."""

    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("ap", "auroc", "iou", "best_iou", "mean_diff")
    """Methods, by their names in METHODS."""
    keep: Annotated[int, Field(ge=1)] | Literal["all"] = 100
    """Best neurons kept per concept and method."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.005
    """`iou`: share of rows above the threshold."""
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """`iou`: a fixed threshold on the activation instead; 0 are the rows where a rectified neuron is active."""
    intervals: Annotated[int, Field(ge=2, le=1000)] = 10
    """`mi`: intervals, between quantiles of equally spaced levels."""
    unit: Literal["word", "sentence"] | None = None
    """Pool tokens (or words) to words or sentences before searching; by default rows are searched as they were
    dumped."""
    pooling: Literal["last", "first", "mean", "max"] | None = None
    """How `unit` pools; by default `last` to words and `max` to sentences."""
    round_to: Literal["float16", "bfloat16"] | None = None
    """Round float32 values to 16 bits for the methods by thresholds, named in `params`: faster than sorting them."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the methods by thresholds count 16-bit values; the last digits of a score depend on it."""
    null: Annotated[int, Field(ge=0)] | None = None
    """Seed: search again with the labels shuffled inside each sentence, into the table `null_checks`."""
    min_positives: Annotated[int, Field(ge=1)] = 1
    """Leave out concepts with fewer positive rows."""
    concepts: tuple[str, ...] | None = None
    """Concepts to search for; all by default."""
    components: tuple[Component, ...] | None = None
    """Components to search; all that were dumped by default."""
    layers: Numbers | None = None
    """Layers to search, such as `[0, 2-5]`; all that were dumped by default."""
    neurons: Numbers | None = None
    """Neurons to search, such as `[63, 100-199]`, in every layer; all that were dumped by default."""


class OfNeurons(Section):
    """Base of the sections of analyses that may be of chosen neurons."""

    neurons: Annotated[tuple[NeuronPlace, ...], Field(min_length=1)] | Literal["all"] = "all"
    """Only these, such as `["mlp:3:63", "resid:2:10-12", "attn:0-5"]`; without a neuron, all of the layers."""

    @field_validator("neurons")
    @classmethod
    def _ranges_ascend(cls, neurons: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if not isinstance(neurons, str):
            place_pieces(neurons)
        return neurons

    @property
    def canonical_neurons(self) -> list[str] | str:
        """`neurons` as the same list for the same neurons, for fingerprints."""
        return self.neurons if isinstance(self.neurons, str) else list(place_texts(place_pieces(self.neurons)))


class ContextsConfig(OfNeurons):
    """Extreme rows per neuron."""

    k: Annotated[int, Field(ge=1)] = 10
    """Rows per tail."""
    window: Annotated[int, Field(ge=0)] = 5
    """Words on each side."""


#: Neurons to explain: ``mlp:3:63``, ``mlp:3:0-99``, ``mlp:3``; with ``-`` in front, by their low values.
NeuronChoice = Annotated[str, Field(pattern=r"^-?[a-z][a-z0-9_]{0,40}:[0-9]{1,5}(:[0-9]{1,9}(-[0-9]{1,9})?)?$")]


class ExplainConfig(Section):
    """Compositional explanations: the best formula over concepts for some neurons."""

    neurons: Annotated[tuple[NeuronChoice, ...], Field(min_length=1)] | None = None
    """Neurons, `component:layer:neuron`: `mlp:3:63`, `mlp:3:0-99`, or all of a layer, `mlp:3`. What is explained is
    where they are high; with `-` in front, `-mlp:3:63`, where they are low."""
    top: Annotated[int, Field(ge=1)] = 1
    """Without `neurons`: the best neurons per concept in `rankings`, each where its sign points."""
    method: Method = "ap"
    """Whose ranking that is."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.005
    """A neuron is active in this share of the rows, above the threshold."""
    beam: Annotated[int, Field(ge=1, le=1000)] = 10
    """Formulas kept of each length."""
    length: Annotated[int, Field(ge=1, le=50)] = 5
    """Concepts of a formula at most."""
    penalty: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    """Taken off the IoU for every concept after the first, when lengths are compared."""
    max_rows: Annotated[int, Field(ge=1)] = 1_000_000
    """Of more rows than these a sample of about as many is taken by hash, of each split."""


class ClusterConfig(OfProducts):
    """Clusters of correlated neurons, and how redundant and how wide layers are."""

    thresholds: Annotated[tuple[Annotated[float, Field(ge=0, le=2)], ...], Field(min_length=1)] = (
        *(0.1, 0.2, 0.3, 0.4),
        *(0.5, 0.6, 0.7),
    )
    """Distances 1 − |r| up to which neurons are joined: one set of clusters for each."""
    linkage: Literal["average", "complete", "single"] = "average"
    """Distance of two clusters: the mean, the largest or the smallest of their pairs."""
    signed: bool = False
    """Take 1 − r instead, so that a neuron and its negation are far apart."""
    components: tuple[Component, ...] | None = None
    """Components to cluster; all that were dumped by default."""
    layers: Numbers | None = None
    """Layers to cluster, such as `[0, 2-5]`; all that were dumped by default."""
    precision: Literal["float32", "float64"] = "float32"
    """Of the products that are summed to correlations: float32 tells correlations 1e-6 apart, float64 1e-12."""
    edges: Annotated[float, Field(ge=0, le=1)] | None = 0.9
    """List the pairs of neurons with at least this |r| in `correlation_edges`; null for none."""
    memory_mb: Annotated[int, Field(ge=1)] = 4096
    """Memory for the distances of neurons that are joined: 4 m² bytes for m neurons that are connected by pairs within
    the largest threshold. Less takes more passes, and is refused where m are too many."""


class MapConfig(Section):
    """A map of neurons by whom they correlate with; of the neurons that the section `cluster` chooses."""

    groups: Annotated[int, Field(ge=1)] = 20
    """Groups of k-means."""
    method: Literal["kmeans", "hdbscan"] = "kmeans"
    """How groups are found; `hdbscan` finds how many there are, and leaves neurons out."""
    space: Literal["embedding", "profile"] = "embedding"
    """Where: on the map, or in the principal components of the correlation profiles."""
    signed: bool = False
    """Profiles of r instead of |r|."""
    neighbors: Annotated[int, Field(ge=2)] = 15
    """Neighbours that UMAP looks at."""
    min_size: Annotated[int, Field(ge=2)] = 5
    """Smallest group of `hdbscan`."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Another seed draws another map."""


class TopWordsConfig(OfNeurons):
    """The words that a neuron responds to most, on average over their occurrences."""

    k: Annotated[int, Field(ge=1)] = 10
    """Words per tail."""
    min_count: Annotated[int, Field(ge=1)] = 5
    """Leave out words with fewer occurrences."""
    shrinkage: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """k of the score (mean − neuron's mean) · n / (n + k); `auto`: variance within words / variance between words."""
    ignore_case: bool = False
    """Take words of other case for the same, and write them in lower case."""


class FactorsConfig(Section):
    """Non-negative factors of the activations of each layer."""

    k: Annotated[int, Field(ge=1, le=1000)] = 16
    """Factors per layer."""
    components: tuple[Component, ...] | None = None
    """Components to factor; all that were dumped by default."""
    layers: Numbers | None = None
    """Layers to factor, such as `[0, 2-5]`; all that were dumped by default."""
    passes: Annotated[int, Field(ge=0, le=1000)] = 5
    """Passes over all rows that improve the factors of a sample, at most."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Another seed draws another sample."""
    batch_rows: Annotated[int, Field(ge=1)] = 1024
    """Rows that are multiplied together; decides memory, and the last bits of results."""
    rows_per_factor: Annotated[int, Field(ge=1)] | Literal["all"] = 100
    """Rows kept of each factor, those with the largest values; `all`: every row where it is active."""


class ReportConfig(Section):
    """The page."""

    path: str | None = None
    """Where to write it; by default `report.html` in the store."""
    title: str | None = None
    """Title; by default made from corpus and model."""
    neurons_per_concept: Annotated[int, Field(ge=1)] = 3
    """Neurons shown per concept."""
    contexts_per_neuron: Annotated[int, Field(ge=1)] = 5
    """Contexts shown per neuron."""
