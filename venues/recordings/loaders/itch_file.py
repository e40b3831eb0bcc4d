"""Files of NASDAQ TotalView-ITCH 5.0: messages with their length before them, and a compiled search among them.

A day is some hundred million messages of all stocks: those of the stocks that are wanted are found by the number
("stock locate") that each message bears. Big-endian; `BinaryFILE` ends with a message of no length.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from market.errors import DataError
from venues.recordings.loaders.base import open_binary

LENGTHS = {
    "S": 12, "R": 39, "H": 25, "Y": 20, "L": 26, "V": 35, "W": 12, "K": 28, "J": 35, "h": 21, "O": 48,
    "A": 36, "F": 40, "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19, "I": 50, "N": 20,
}  # fmt: skip
"""Bytes of each message, by its type (Nasdaq TotalView-ITCH 5.0, section 4)."""
SYMBOL_AT = {"R": 11, "A": 24, "F": 24, "P": 24, "Q": 19}
"""Where a message names its stock (8 bytes)."""
_CHUNK = 1 << 22


class Messages:
    """The messages of some stocks, in the file's order.

    Parameters
    ----------
    path : Path
    wanted : frozenset[str]
        Stocks; empty for all.
    most : int
        Stocks that a file may hold where none are named.

    """

    def __init__(self, path: Path, wanted: frozenset[str], most: int) -> None:
        self._path, self._wanted, self._most = path, wanted, most
        self.symbols: dict[int, str] = {}
        """Stock by its number, as far as they are wanted and known."""

    def __iter__(self) -> Iterator[bytes]:
        from venues.recordings.loaders.itch_search import Search, Why  # numba, which few loaders need

        search = Search()
        rest, read = b"", 0
        with open_binary(self._path) as raw:
            while chunk := raw.read(_CHUNK):
                piece = rest + chunk
                at, why = 0, Why.FULL
                while why in (Why.FULL, Why.NAMED):
                    places, at, why = search.next(piece, at)
                    for place in places:
                        yield piece[place : place + piece[place - 1]]
                    if why is Why.NAMED:
                        search.learn(*self._named(piece[at + 2 : at + 2 + piece[at + 1]]))
                if why is Why.ENDED:
                    return
                if why is Why.UNSOUND:
                    shown = piece[at + 2 : at + 3]
                    raise DataError(f"{self._path}: not a sound ITCH 5.0 file at byte {read + at} (message {shown!r})")
                read, rest = read + at, piece[at:]
        if rest:
            raise DataError(f"{self._path}: the file ends within a message; copy it again")

    def _named(self, message: bytes) -> tuple[int, bool]:
        """The number of the stock that a message names, and whether it is wanted."""
        at = SYMBOL_AT[chr(message[0])]
        name = message[at : at + 8].decode("ascii", "replace").strip()
        locate = int.from_bytes(message[1:3], "big")
        is_wanted = not self._wanted or name in self._wanted
        if is_wanted:
            self.symbols[locate] = name
        if not self._wanted and len(self.symbols) > self._most:
            raise DataError(
                f"{self._path}: it holds more than {self._most} stocks; "
                "say which to import, e.g. --instruments AAPL,MSFT"
            )
        return locate, is_wanted
