"""Z85 (ZeroMQ RFC 32): the text in which ZeroMQ takes and names Curve keys.

Owns: the alphabet. Must never know what it spells. Written here and not taken from pyzmq, so that
certificates can be made and checked where no socket is ever opened.
"""

_ALPHABET = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_VALUE = {letter: value for value, letter in enumerate(_ALPHABET)}


def z85(raw: bytes) -> bytes:
    """`raw`, whose length is a multiple of 4, as 5/4 as many letters."""
    text = bytearray()
    for place in range(0, len(raw), 4):
        number = int.from_bytes(raw[place : place + 4], "big")
        text += bytes(_ALPHABET[number // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return bytes(text)


def from_z85(text: bytes) -> bytes | None:
    """The bytes that `text` spells; None if it spells none."""
    if len(text) % 5 or any(letter not in _VALUE for letter in text):
        return None
    raw = bytearray()
    for place in range(0, len(text), 5):
        number = 0
        for letter in text[place : place + 5]:
            number = number * 85 + _VALUE[letter]
        if number >= 2**32:
            return None
        raw += number.to_bytes(4, "big")
    return bytes(raw)
