"""The search of a float32 store: it is exact on 16-bit values, so it has to be told what to round to."""

from __future__ import annotations

from schemas.config import Config
from schemas.errors import ConfigError


def lacks_rounding(config: Config) -> bool:
    """Whether the values are float32 and nothing says what the search rounds them to."""
    return config.dump.dtype == "float32" and config.search.round_to is None


def check_rounding(config: Config, command: str) -> None:
    """Raise :class:`ConfigError` for a float32 store without ``search.round_to``; ``command`` is to be given again."""
    if lacks_rounding(config):
        raise ConfigError(
            "search.round_to: with dump.dtype float32 it must say what the search rounds to, for it is exact on 16-bit "
            f"values only: `{command} --round-to float16`, or bfloat16 for values beyond 65,504 (`params` of the "
            "rankings names it)"
        )
