"""Text of a corpus made harmless for where people read it: a terminal or a page."""

from __future__ import annotations

import unicodedata

#: Format characters that words of real languages need: the zero-width non-joiner and joiner.
_JOINERS = "\u200c\u200d"
_CONTROL_PICTURES = 0x2400
_HARMFUL = ("Cc", "Cf", "Cs", "Zl", "Zp")


def inert(text: str) -> str:
    """``text`` with every control character replaced by a visible sign; its length is unchanged.

    C0 controls and DEL become Unicode control pictures (ESC is ``␛``). C1 controls, bidirectional overrides, other
    format characters (category Cf) but the two joiners, lone surrogates, and line and paragraph separators become
    U+FFFD. So a corpus can neither send commands to a terminal nor reorder the text around it.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_inert_character(c) for c in text)


def _inert_character(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _HARMFUL:
        return character
    code = ord(character)
    if code < 0x20:
        return chr(_CONTROL_PICTURES + code)
    return "␡" if code == 0x7F else "�"
