"""The facts of a model that a plan records. No torch here: reading a plan must not take seconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from schemas.errors import ModelError

#: Architectures (transformers' model types) whose every token sees the whole sequence.
_BIDIRECTIONAL = frozenset(
    {
        *("albert", "bert", "big_bird", "camembert", "canine", "convbert", "data2vec-text", "deberta", "deberta-v2"),
        *("distilbert", "electra", "ernie", "esm", "eurobert", "flaubert", "fnet", "funnel", "ibert", "layoutlm"),
        *("lilt", "longformer", "luke", "megatron-bert", "mobilebert", "modernbert", "mpnet", "mra", "nomic_bert"),
        *("nystromformer", "rembert", "roberta", "roberta-prelayernorm", "roformer", "splinter", "squeezebert"),
        *("xlm", "xlm-roberta", "xlm-roberta-xl", "xmod", "yoso"),
    }
)


@dataclass(frozen=True)
class ModelInfo:
    """One model.

    ``widths``: neurons per component, ``{"resid": d, "mlp": f}``; ``mlp`` is missing where the architecture has no
    such module. ``resid`` has layers 0 (embeddings) … ``n_layers``, ``mlp`` layers 1 … ``n_layers``. ``max_length``:
    tokens per sequence, special ones included; None for no limit. ``revision``: the commit of a hub id. ``path``:
    local folder.
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

    def to_json(self) -> dict[str, Any]:
        """Fields as plain values."""
        return asdict(self)

    @property
    def is_bidirectional(self) -> bool:
        """Whether the first token is known to see the tokens after it; False for architectures not heard of."""
        return self.architecture in _BIDIRECTIONAL

    def layers(self, component: str) -> tuple[int, ...]:
        """Layers that ``component`` has; raises :class:`ModelError` where the architecture has no such component."""
        if component not in self.widths:
            raise ModelError(
                f"component {component!r}: architecture {self.architecture!r} has no single down projection per "
                f"block whose input could be captured (mixture of experts?); choose from {', '.join(self.widths)}"
            )
        return tuple(range(0 if component == "resid" else 1, self.n_layers + 1))

    def check_layers(self, component: str, layers: tuple[int, ...]) -> None:
        """Raise :class:`ModelError` for a layer that ``component`` does not have."""
        valid = self.layers(component)
        wrong = [layer for layer in layers if layer not in valid]
        if wrong:
            raise ModelError(
                f"layer {wrong[0]} of {component!r} is out of range: {self.alias} has layers {valid[0]} to {valid[-1]}"
            )
