"""The name a model gets in a store when the config does not give one."""

from __future__ import annotations

import os
import re

from schemas.locations import PREFIX

_LONGEST = 64


def default_alias(name: str, gguf_file: str | None = None, random_weights: int | None = None) -> str:
    """The alias made from ``model.name``: ``package:NAME/PATH`` gives NAME, a folder or hub id its last part.

    A GGUF file gives its own name, for a folder often holds several. A control with random weights has
    ``-random<seed>`` behind it, so that it stands beside its model. What cannot be in a file name becomes ``-``; 64
    characters at most. Raises :class:`ValueError` for a name without such a part (``/``, ``package:``, nothing).
    """
    if name.startswith(PREFIX):
        part = name.removeprefix(PREFIX).partition("/")[0]
    else:
        part = os.path.basename(os.path.abspath(os.path.expanduser(name))) if name.strip() else ""  # noqa: PTH100, PTH111, PTH119 - `..` has to go, and links to stay
    if not part:
        raise ValueError("a model's name has a part to call it by; give a folder, a hub id or package:NAME/PATH")
    suffix = "" if random_weights is None else f"-random{random_weights}"
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", gguf_file or part).strip("-._") or "model"
    return clean[: _LONGEST - len(suffix)] + suffix
