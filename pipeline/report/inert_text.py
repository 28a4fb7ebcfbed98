"""Text of a corpus on a page: its direction, and data inside a script element."""

from __future__ import annotations

import json
import unicodedata


def direction(text: str) -> str:
    """Base direction by the first strong character: ``rtl`` or ``ltr`` (UAX #9, rules P2 and P3; ``ltr`` if none)."""
    for character in text:
        kind = unicodedata.bidirectional(character)
        if kind in ("R", "AL"):
            return "rtl"
        if kind == "L":
            return "ltr"
    return "ltr"


def script_json(value: object) -> str:
    """``value`` as ASCII JSON that cannot end, or comment out, the script element it is put in.

    ``<``, ``>`` and ``&`` are written as escapes. Raises ValueError on NaN and infinities: JSON has none.
    """
    encoded = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return encoded.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
