"""A long text in many scripts, cut into tokens; the same text for the same seed."""

from __future__ import annotations

import random

# One entry is one alphabet; a word takes all its characters from the same one.
_ALPHABETS: tuple[tuple[int, int], ...] = (
    (0x0061, 0x007A),  # Latin
    (0x00E0, 0x00F6),  # Latin with diacritics
    (0x03B1, 0x03C9),  # Greek
    (0x0430, 0x044F),  # Cyrillic
    (0x05D0, 0x05EA),  # Hebrew, right to left
    (0x0627, 0x064A),  # Arabic, right to left
    (0x0905, 0x0939),  # Devanagari
    (0x0E01, 0x0E2E),  # Thai
    (0x10D0, 0x10F0),  # Georgian
    (0x1200, 0x1246),  # Ethiopic
    (0x3041, 0x3096),  # Hiragana
    (0x4E00, 0x9FA5),  # Han
    (0xAC00, 0xD7A3),  # Hangul
    (0x13000, 0x1342E),  # Egyptian hieroglyphs, beyond the basic plane
    (0x1D400, 0x1D454),  # mathematical letters, beyond the basic plane
    (0x1F600, 0x1F64F),  # emoji
)
_COMBINING = (0x0300, 0x036F)

# Sequences that a careless encoder, splitter or event parser would change.
_TRAPS = (
    "\N{FAMILY}\N{ZERO WIDTH JOINER}\N{GIRL}\N{EMOJI MODIFIER FITZPATRICK TYPE-5}",
    "\N{REGIONAL INDICATOR SYMBOL LETTER E}\N{REGIONAL INDICATOR SYMBOL LETTER U}",
    "\N{ZERO WIDTH NO-BREAK SPACE}",
    "\N{LINE SEPARATOR}",
    "\N{NEXT LINE}",
    "\x0b\x0c\x1c",
    "    ",
    "\n\n\n",
    "\n\ndata: x\n\nevent: control\ndata: {}\n\n",
    "\n:comment\nid: 1\nretry: 1\n",
)
_SEPARATORS = (" ", " ", " ", ", ", ". ", "\n", "\n\n", "\t")
_TRAP_RATE = 0.01
_COMBINED_RATE = 0.1


def make_text(seed: int, min_bytes: int) -> str:
    """A text of at least `min_bytes` in UTF-8. No carriage return, which events cannot carry."""
    chance = random.Random(seed)
    pieces: list[str] = []
    size = 0
    while size < min_bytes:
        piece = chance.choice(_TRAPS) if chance.random() < _TRAP_RATE else _word(chance)
        piece += chance.choice(_SEPARATORS)
        pieces.append(piece)
        size += len(piece.encode())
    return "".join(pieces)


def _word(chance: random.Random) -> str:
    first, last = chance.choice(_ALPHABETS)
    letters = [chr(chance.randint(first, last)) for _ in range(chance.randint(1, 10))]
    if chance.random() < _COMBINED_RATE:
        letters = [letter + chr(chance.randint(*_COMBINING)) for letter in letters]
    return "".join(letters)


def cut_into_tokens(text: str, seed: int, max_characters: int) -> list[bytes]:
    """The text in pieces of one to `max_characters` whole characters, as UTF-8."""
    chance = random.Random(seed)
    tokens: list[bytes] = []
    start = 0
    while start < len(text):
        end = start + chance.randint(1, max_characters)
        tokens.append(text[start:end].encode())
        start = end
    return tokens
