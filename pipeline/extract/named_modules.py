"""Components that a config names by the path of a module: finding the modules, and what they give."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import partial
from typing import Any

import torch
from torch import nn

from pipeline.extract.architecture import is_encoder_decoder
from pipeline.extract.capture import per_token
from pipeline.extract.site import Site, first_argument
from schemas.components import ModuleConfig
from schemas.errors import ConfigError, ModelError

_LAYER = "{layer}"
_NUMBER = re.compile(r"(?:(?<=\.)|^)\d+(?=\.|$)")
_N_NEAREST = 6
#: Sequences and tokens of the probe; two primes, so that no other axis is mistaken for them.
_PROBE = (2, 5)
#: Component and number of a module → what it had in each call.
_Seen = defaultdict[tuple[str, int], list[Any]]


def named_sites(model: nn.Module, modules: Sequence[ModuleConfig]) -> tuple[Site, ...]:
    """Sites of the modules that a config names, their width unknown.

    ``{layer}`` takes all numbers for which there is a module; number i is layer i + 1. Raises :class:`ConfigError`
    where there is no such module.
    """
    return tuple(_site(model, module) for module in modules)


def _site(model: nn.Module, config: ModuleConfig) -> Site:
    known = dict(model.named_modules())
    if _LAYER not in config.pattern:
        found = {0: known[config.pattern]} if config.pattern in known else {}
    else:
        before, _, after = config.pattern.partition(_LAYER)
        numbers = {path[len(before) : len(path) - len(after)] for path in known if path.startswith(before)}
        paths = {int(number) + 1: before + number + after for number in numbers if number.isdecimal()}
        found = {layer: known[path] for layer, path in sorted(paths.items()) if path in known}
    if not found:
        raise ConfigError(
            f"dump.modules: {config.name!r}: the model has no module {config.pattern!r}; it has, for example, "
            f"{', '.join(_nearest(known, config.pattern))}"
        )
    return Site(config.name, tuple(found.values()), tuple(found), config.at, None)


def _nearest(known: dict[str, nn.Module], pattern: str) -> list[str]:
    """A few modules of the model, written like ``pattern`` (``{layer}`` where it has it), the most similar first.

    In the blocks that the pattern names, if there are such.
    """
    paths = [path for path in known if path]
    if _LAYER in pattern:
        block = pattern.partition(_LAYER)[0] + _LAYER
        numbered = dict.fromkeys(_NUMBER.sub(_LAYER, path, count=1) for path in paths if _NUMBER.search(path))
        paths = [path for path in numbered if path.startswith(f"{block}.")] or list(numbered) or paths
    return sorted(paths, key=lambda path: -SequenceMatcher(None, path, pattern).ratio())[:_N_NEAREST]


def site_widths(model: nn.Module, sites: Sequence[Site]) -> dict[str, int]:
    """Neurons of each site's component, found by a forward pass of a ``model`` without storage (the meta device).

    Raises :class:`ModelError` for a module that is not called exactly once, does not give one vector per token, has
    different widths in different layers, or where the model does not run without storage.
    """
    seen: _Seen = defaultdict(list)
    handles = [
        _hook(module, site, partial(_remember, seen, site, number))
        for site in sites
        for number, module in enumerate(site.modules)
    ]
    model.to(torch.bfloat16)  # kernels of some mixtures of experts refuse other dtypes without storage
    try:
        _run_without_storage(model, seen, sum(len(site.modules) for site in sites))
    finally:
        for handle in handles:
            handle.remove()
    return {site.component: _width(site, [seen[site.component, n] for n in range(len(site.modules))]) for site in sites}


def _hook(module: nn.Module, site: Site, remember: Callable[[Any], None]) -> Any:
    if site.at == "output":
        return module.register_forward_hook(lambda _module, _args, output: remember(output))
    return module.register_forward_pre_hook(
        lambda _module, args, kwargs: remember(first_argument(args, kwargs)), with_kwargs=True
    )


def _remember(seen: _Seen, site: Site, number: int, given: Any) -> None:
    is_sequence = isinstance(given, tuple | list) and len(given) > 0
    seen[site.component, number].append(site.read(given) if torch.is_tensor(given) or is_sequence else None)


def _width(site: Site, calls: Sequence[Sequence[Any]]) -> int:
    """Neurons in what each module of ``site`` had in each of its calls."""
    where = f"component {site.component!r}"
    numbers = sorted({len(found) for found in calls})
    if numbers != [1]:
        raise ModelError(
            f"{where}: a forward pass calls its module {' or '.join(map(str, numbers))} times, not once; name another "
            "module (blocks that share their weights cannot be told apart by path)"
        )
    if not all(torch.is_tensor(tensor) for (tensor,) in calls):
        raise ModelError(f"{where}: its module handles no tensor there; name another one, or the other side (`at`)")
    widths = sorted({per_token(tensor, _PROBE, site.component).shape[-1] for (tensor,) in calls})
    if len(widths) != 1:
        raise ModelError(
            f"{where}: its layers have {', '.join(map(str, widths))} neurons; a component has one width, so define "
            "several with a pattern for each"
        )
    return widths[0]


def _run_without_storage(model: nn.Module, seen: _Seen, n_modules: int) -> None:
    """A forward pass on the meta device; masks are four-dimensional where that works, since others are looked into."""
    batch, length = _PROBE
    problems = []
    with torch.device("meta"), torch.inference_mode():
        ids = torch.zeros(batch, length, dtype=torch.int64)
        inputs: dict[str, Any] = {"input_ids": ids}
        masks: dict[str, Any] = {"attention_mask": torch.ones(batch, 1, 1, length, dtype=torch.bool)}
        if is_encoder_decoder(model):
            inputs |= {"decoder_input_ids": torch.zeros(batch, length + 1, dtype=torch.int64), "use_cache": False}
            masks["decoder_attention_mask"] = torch.ones(batch, 1, 1, length + 1, dtype=torch.bool)
        for arguments in (inputs | masks, inputs):
            seen.clear()
            try:
                model(**arguments)
            except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
                problems.append(str(error).splitlines()[0] if str(error) else type(error).__name__)
            else:
                return
    if len(seen) < n_modules:
        raise ModelError(
            f"dump.modules: {type(model).__name__} does not run without weights, which is how a module's width is "
            f"found ({'; '.join(problems)}); use the built-in components"
        )
