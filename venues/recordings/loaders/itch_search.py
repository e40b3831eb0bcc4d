"""The compiled search for the messages of some stocks in a piece of an ITCH 5.0 file."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numba import njit
from numpy.typing import NDArray

from venues.recordings.loaders.itch_file import LENGTHS, SYMBOL_AT

_TOLD = "SAFECXDUPQBH"
_FOUND = 1 << 16
_UNKNOWN, _WANTED, _OTHER = 0, 1, 2


class Why(IntEnum):
    """Where a search stopped."""

    MORE = 0
    """At a message that is not whole yet."""
    FULL = 1
    """As many messages as are returned at a time."""
    NAMED = 2
    """At a message that names a stock not seen before."""
    ENDED = 3
    """At the mark that ends a file."""
    UNSOUND = 4
    """At what is no message."""


class Search:
    """Finds messages by the number of their stock."""

    def __init__(self) -> None:
        self._state = np.zeros(1 << 16, np.uint8)
        self._state[0] = _WANTED  # of messages to all
        self._found = np.empty(_FOUND, np.int64)

    def learn(self, locate: int, is_wanted: bool) -> None:
        """Say whether a stock's messages are wanted."""
        self._state[locate] = _WANTED if is_wanted else _OTHER

    def next(self, piece: bytes, at: int) -> tuple[list[int], int, Why]:
        """Places of the next messages that are wanted, from `at` on, and where and why the search stopped."""
        view = np.frombuffer(piece, np.uint8)
        count, at, why = _search(view, at, self._state, _LENGTH_OF, _NAMES, _IS_TOLD, self._found)
        return self._found[:count].tolist(), int(at), Why(why)


def _by_type(values: dict[str, int]) -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for kind, value in values.items():
        table[ord(kind)] = value
    return table


_LENGTH_OF = _by_type(LENGTHS)
_NAMES = _by_type(dict.fromkeys(SYMBOL_AT, 1))
_IS_TOLD = _by_type(dict.fromkeys(_TOLD, 1))


@njit(cache=True)
def _search(data, at, state, length_of, names, told, found):  # type: ignore[no-untyped-def]
    """How many places of messages were put into `found`, where the search stopped, and why (`Why`)."""
    count, why = 0, -1
    while why < 0:
        size = (np.int64(data[at]) << 8) | np.int64(data[at + 1]) if at + 2 <= data.size else 256
        if at + 2 > data.size:
            why = 0
        elif size == 0:
            why = 3
        elif not 11 <= size <= 255:
            why = 4
        elif at + 2 + size > data.size:
            why = 0
        else:
            kind = data[at + 2]
            state_now = state[(np.int64(data[at + 3]) << 8) | np.int64(data[at + 4])]
            if length_of[kind] != size and (length_of[kind] != 0 or not 65 <= kind <= 122):
                why = 4
            elif state_now == _UNKNOWN and names[kind]:
                why = 2
            else:
                at += 2 + size
                if state_now == _WANTED and told[kind]:
                    found[count] = at - size
                    count += 1
                    if count == found.size:
                        why = 1
    return count, at, why
