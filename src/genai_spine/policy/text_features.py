"""What in a text tokenizers spend tokens on, counted in one pass of C: letters, words, digits, signs, scripts.

The bytes of its UTF-8 are mapped to a class each, so that a megabyte takes a few milliseconds. Must not know:
models, weights.
"""

from __future__ import annotations

NAMES = (
    "words",
    "letters",
    "capitals",
    "humps",
    "long_words",
    "digits",
    "numbers",
    "signs",
    "sign_runs",
    "newlines",
    "indents",
    "accents",
    "cyrillic",
    "indic",
    "symbols",
    "kana",
    "han",
    "hangul",
    "emoji",
)
"""In the order of `features`. `humps` are capitals inside of a word, `indents` are spaces after spaces, `cyrillic`
are all scripts of two bytes a letter, `indic` those of three up to U+0FFF; `accents` are what Latin has beyond
ASCII, and all from U+1000 to U+1FFF: Vietnamese is the most frequent there."""

_CLASSES = {
    "a": range(0x61, 0x7B),
    "A": range(0x41, 0x5B),
    "0": range(0x30, 0x3A),
    " ": (0x20, 0x09),
    "\n": (0x0A, 0x0D),
    "l": (*range(0xC2, 0xCA), 0xE1),
    "c": range(0xCA, 0xE0),
    "i": (0xE0,),
    "s": (0xE2, 0xEE, 0xEF),
    "k": (0xE3,),
    "h": range(0xE4, 0xEA),
    "g": range(0xEA, 0xEE),
    "e": range(0xF0, 0xF8),
}
_OF_BYTE = bytearray(b"." * 256)
for _class, _bytes in _CLASSES.items():
    for _byte in _bytes:
        _OF_BYTE[_byte] = ord(_class)
_CLASS_OF = bytes(_OF_BYTE)
_CONTINUED = bytes(range(0x80, 0xC0))
_WORDS = bytes(0x77 if chr(byte) in "aAl" else 0x20 for byte in range(256))
_NUMBERS = bytes(0x30 if byte == 0x30 else 0x20 for byte in range(256))
_SIGNS = bytes(0x2E if byte == 0x2E else 0x20 for byte in range(256))
_LONG = b"wwwwwwwww"


def features(text: str) -> tuple[int, ...]:
    """How often each of `NAMES` is in a text."""
    classes = text.encode("utf-8", "surrogatepass").translate(_CLASS_OF, _CONTINUED)
    words = classes.translate(_WORDS)
    count = classes.count
    return (
        len(words.split()),
        count(b"a") + count(b"A"),
        count(b"A"),
        count(b"aA"),
        words.count(_LONG),
        count(b"0"),
        len(classes.translate(_NUMBERS).split()),
        count(b"."),
        len(classes.translate(_SIGNS).split()),
        count(b"\n"),
        count(b"  "),
        count(b"l"),
        count(b"c"),
        count(b"i"),
        count(b"s"),
        count(b"k"),
        count(b"h"),
        count(b"g"),
        count(b"e"),
    )
