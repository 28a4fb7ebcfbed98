"""Which components, layers and neurons a run captures: the config's wishes against what the model has."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.extract.model_facts import ModelInfo
from pipeline.extract.sae import SaeFacts, describe_sae
from schemas.components import DECODER, neuron_pieces
from schemas.config import DumpConfig
from schemas.errors import ConfigError

Layers = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Choice:
    """Layers, width and chosen neurons (``(first, stop)`` pieces; all where missing) of every component asked for."""

    layers: Layers
    widths: dict[str, int]
    neurons: dict[str, tuple[tuple[int, int], ...]]


def describe_saes(dump: DumpConfig, info: ModelInfo) -> dict[str, SaeFacts]:
    """The autoencoders' files, by component; raises :class:`~schemas.errors.ModelError` where one does not fit."""
    for sae in dump.saes:
        info.check_layers(sae.component, (sae.layer,))
    return {sae.name: describe_sae(sae, info.widths[sae.component]) for sae in dump.saes}


def choose_components(dump: DumpConfig, info: ModelInfo, saes: dict[str, SaeFacts]) -> Choice:
    """What to capture of the model.

    A list of layers goes for all components that have several; a mapping for those it names. Raises
    :class:`ConfigError` for layers or neurons that a component does not have, and where nothing is left;
    :class:`~schemas.errors.ModelError` for a component that the model does not have.
    """
    fixed = {sae.name: (sae.layer,) for sae in dump.saes}
    available = {name: fixed.get(name) or info.layers(name) for name in dump.components}
    widths = {name: saes[name].width if name in saes else info.widths[name] for name in dump.components}
    layers = _layers(dump, available, info.name)
    if not any(layers.values()):
        raise ConfigError(
            "dump.layers: `mlp` starts at layer 1, so layer 0 alone captures nothing; add layers or `resid`"
        )
    if dump.pooling == "cls" and any(name.startswith(DECODER) for name in dump.components):
        raise ConfigError(
            "dump.pooling 'cls' is not for a decoder: where it reads its first token it has seen nothing else; "
            "choose mean, max or last"
        )
    return Choice(layers, widths, _neurons(dump, widths))


def _layers(dump: DumpConfig, available: Layers, name: str) -> Layers:
    if isinstance(dump.layers, dict):
        _check_names("dump.layers", tuple(dump.layers), available)
        for component, wanted in dump.layers.items():
            _check_range(f"dump.layers: {component}", set(wanted), set(available[component]), name)
        return {component: tuple(sorted(set(dump.layers.get(component, has)))) for component, has in available.items()}
    if dump.layers is None:
        return available
    listed = set(dump.layers)
    several = {component: has for component, has in available.items() if len(has) > 1}
    _check_range("dump.layers", listed, {n for has in several.values() for n in has}, name)
    return {
        component: tuple(n for n in has if n in listed or component not in several)
        for component, has in available.items()
    }


def _check_range(key: str, wanted: set[int], available: set[int], name: str) -> None:
    wrong = sorted(wanted - available)
    if wrong:
        has = f"layers {min(available)}–{max(available)}" if available else "no component with several layers"
        raise ConfigError(
            f"{key}: {wrong[0]} is out of range: {name} has {has} (0: embeddings, `resid` only; block i is layer i + 1)"
        )


def _check_names(key: str, given: tuple[str, ...], available: Layers) -> None:
    unknown = [name for name in given if name not in available]
    if unknown:
        raise ConfigError(f"{key}: {unknown[0]!r} is not in dump.components ({', '.join(available)}); add or drop it")


def _neurons(dump: DumpConfig, widths: dict[str, int]) -> dict[str, tuple[tuple[int, int], ...]]:
    wanted = dump.neurons or {}
    _check_names("dump.neurons", tuple(wanted), dict.fromkeys(widths, ()))
    pieces = {component: neuron_pieces(ranges) for component, ranges in wanted.items()}
    for component, found in pieces.items():
        if found[-1][1] > widths[component]:
            raise ConfigError(
                f"dump.neurons: {component}: {found[-1][1] - 1} is out of range: it has neurons "
                f"0–{widths[component] - 1}"
            )
    return pieces
