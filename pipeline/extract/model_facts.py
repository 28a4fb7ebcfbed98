"""The facts of a model that a plan records. No torch here: reading a plan must not take seconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from schemas.errors import ModelError

#: Architectures (transformers' model types) whose every token sees the whole sequence.
BIDIRECTIONAL = frozenset(
    {
        *("albert", "bert", "big_bird", "camembert", "canine", "convbert", "data2vec-text", "deberta", "deberta-v2"),
        *("distilbert", "electra", "ernie", "esm", "eurobert", "flaubert", "fnet", "funnel", "ibert", "layoutlm"),
        *("lilt", "longformer", "luke", "megatron-bert", "mobilebert", "modernbert", "mpnet", "mra", "nomic_bert"),
        *("nystromformer", "rembert", "roberta", "roberta-prelayernorm", "roformer", "splinter", "squeezebert"),
        *("xlm", "xlm-roberta", "xlm-roberta-xl", "xmod", "yoso"),
    }
)


#: Architectures whose batches may be packed: they take position ids and a mask between tokens. Verified by a test.
_PACKED = frozenset(
    {
        *("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "mpnet"),
        *("gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "gemma", "smollm3", "olmo", "phi", "phi3"),
    }
)


@dataclass(frozen=True)
class ModelInfo:
    """One model.

    ``n_layers``: blocks (of the encoder, in an encoder–decoder). ``widths``: neurons per component, ``{"resid": d,
    "mlp": f, …}``, and ``layers_of``: its layers; a component is missing where the architecture has no module for it.
    ``resid`` has layers 0 (embeddings) … ``n_layers``, other built-in components layers 1 … ``n_layers``.
    ``max_length``: tokens per sequence, special ones included; None for no limit. ``revision``: the commit of a hub
    id. ``path``: local folder. ``start_token_id``: what the decoder of an encoder–decoder reads first, None for other
    models. ``has_window``: its attention reaches a limited number of tokens back in some layers. ``first_position``:
    the number of a sequence's first position (RoBERTa counts from its padding on). ``attention``: transformers' name of
    the implementation that computes it, `sdpa` wherever the architecture has that. ``is_turned``: its tokens see in the
    other direction than those of its architecture do: a BERT built as a decoder, a Llama with ``is_causal: false``.
    """

    alias: str
    name: str
    architecture: str
    n_layers: int
    widths: dict[str, int]
    max_length: int | None
    vocab_size: int
    pad_token_id: int
    weights_sha256: str
    revision: str | None
    path: str
    layers_of: dict[str, tuple[int, ...]] = field(default_factory=dict)
    start_token_id: int | None = None
    has_window: bool = False
    first_position: int = 0
    attention: str | None = None
    is_turned: bool = False

    def to_json(self) -> dict[str, Any]:
        """Fields as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ModelInfo:
        """Inverse of :meth:`to_json`."""
        return cls(**{**data, "layers_of": {name: tuple(layers) for name, layers in data["layers_of"].items()}})

    @property
    def is_bidirectional(self) -> bool:
        """Whether the first token is known to see the tokens after it; False for architectures not heard of.

        Of an encoder–decoder: in its encoder.
        """
        sees_all = self.architecture in BIDIRECTIONAL or self.start_token_id is not None
        return sees_all != self.is_turned

    @property
    def is_packable(self) -> bool:
        """Whether several sequences can stand in one row of a batch; see :data:`_PACKED`."""
        return self.architecture in _PACKED and not self.has_window

    @staticmethod
    def packable_architectures() -> tuple[str, ...]:
        """Architectures for which :attr:`is_packable` can hold."""
        return tuple(sorted(_PACKED))

    def layers(self, component: str) -> tuple[int, ...]:
        """Layers that ``component`` has; raises :class:`ModelError` where the model has no such component."""
        if component not in self.layers_of:
            raise ModelError(
                f"component {component!r}: architecture {self.architecture!r} has no single module per block where it "
                f"could be read (mixture of experts?); choose from {', '.join(self.widths)}, or name a module in "
                "dump.modules"
            )
        return self.layers_of[component]

    def check_layers(self, component: str, layers: tuple[int, ...]) -> None:
        """Raise :class:`ModelError` for a layer that ``component`` does not have."""
        valid = self.layers(component)
        wrong = [layer for layer in layers if layer not in valid]
        if wrong:
            raise ModelError(
                f"layer {wrong[0]} of {component!r} is out of range: {self.alias} has layers {valid[0]} to {valid[-1]}"
            )
