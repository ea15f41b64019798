"""Strangers' text on a terminal: nothing in it moves the cursor, colours, hides or turns around what is printed."""

from __future__ import annotations

_SIGNS = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: "␡"}
_OTHERS = [*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)]
_SHOWN = str.maketrans(_SIGNS | dict.fromkeys(_OTHERS, "\ufffd"))


def printable(text: str) -> str:
    """Return the text with a sign in place of each control character, half letter and turn of the direction.

    Tabs and ends of lines are kept.
    """
    return text if text.isprintable() else text.translate(_SHOWN)
