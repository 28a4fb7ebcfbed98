"""The notation ``package:NAME/PATH``: a file or folder of an installed Python package, found without importing it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from schemas.errors import ConfigError

PREFIX = "package:"


def resolve_location(location: str) -> str:
    """Turn ``package:NAME/PATH`` into a local path; anything else comes back unchanged.

    Raises :class:`ConfigError` when the package is not installed, has no such file, or the path leaves the package.
    """
    if not location.startswith(PREFIX):
        return location
    name, _, inner = location.removeprefix(PREFIX).partition("/")
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"location {location!r}: package {name!r} is not installed here; pip install it or give a path"
        )
    folder = Path(next(iter(spec.submodule_search_locations))).resolve()
    path = (folder / inner).resolve()
    if not path.is_relative_to(folder):
        raise ConfigError(f"location {location!r} leaves the package's folder; give a path inside it")
    if not path.exists():
        raise ConfigError(f"location {location!r}: the installed package {name!r} has no {inner!r}")
    return str(path)
