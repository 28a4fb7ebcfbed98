"""Numbers as a person reads them; the page and the terminal share these."""

from __future__ import annotations

#: Shown for what is undefined.
NOTHING = "–"


def score_text(value: float | None) -> str:
    """Three decimals below 10, three significant digits from there; ``–`` for None."""
    if value is None:
        return NOTHING
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.3g}"


def activation_text(value: float | None) -> str:
    """Two decimals (fewer for large values, more for tiny ones), with a real minus sign; ``–`` for None."""
    if value is None:
        return NOTHING
    if 0.1 <= abs(value) < 100 or value == 0:
        return f"{value:.2f}".replace("-", "−")
    digits = f"{value:.3g}" if abs(value) >= 100 else f"{value:.1g}"
    return digits.replace("-", "−")


def share_text(value: float | None) -> str:
    """A share in percent with two significant digits, at most two decimals: ``1.9 %``, ``0.04 %``."""
    if value is None:
        return NOTHING
    percent = 100 * value
    if percent >= 10:
        return f"{percent:.0f} %"
    return f"{percent:.1f} %" if percent >= 1 else f"{percent:.2f} %"


def probability_text(value: float | None) -> str:
    """A p or q value: two significant digits, ``<1e-300`` for one that underflowed; ``–`` for None."""
    if value is None:
        return NOTHING
    if value < 1e-300:
        return "<1e-300"
    return f"{value:.2g}" if value >= 1e-3 else f"{value:.0e}"


def sign_text(sign: int) -> str:
    """``+`` or ``−``."""
    return "−" if sign < 0 else "+"


def size_text(n_bytes: int) -> str:
    """Bytes in decimal units: ``671 MB``."""
    size = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} PB"
