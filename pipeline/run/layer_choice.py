"""Which layers of a dump a section of the config chooses."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.run.plan_record import Capture
from schemas.errors import ConfigError


def chosen_layers(
    section: str, capture: Capture, components: Sequence[str] | None, layers: Sequence[int] | None
) -> list[tuple[str, int]]:
    """The components and layers of the dump that are among these, all of them for None.

    Raises :class:`ConfigError` where none is left; ``section`` is the one of the config that says so.
    """
    left = [
        (component, layer)
        for component, layer in capture.targets
        if (components is None or component in components) and (layers is None or layer in layers)
    ]
    if not left:
        asked: dict[str, Sequence[object] | None] = {"components": components, "layers": layers}
        given = ", ".join(f"{name} {', '.join(map(str, some))}" for name, some in asked.items() if some is not None)
        raise ConfigError(
            f"{section}.components, {section}.layers: nothing of the dump is left by {given}; it has layers "
            f"{', '.join(map(str, capture.all_layers))} of {', '.join(capture.components)}"
        )
    return left
