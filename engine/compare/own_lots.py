"""A run's own orders in the book that the public sees: how many lots of each level were ours.

The public stream says neither whose lots these are, nor when by our clock it shows what the private stream tells. So
each change of ours is looked for in the sizes that its level shows around that time: a level that grows by a
placement's lots after it left shows the order, one that shrinks by them after the cancel left shows it no more.
"""

from __future__ import annotations

import msgspec

from engine.compare.records import Log
from engine.live.records.order_log import Sent
from market.events import BookUpdate, Trade
from strategies.values import Kind

_APART_NS = 2_000_000_000
"""The public stream shows a change at most so long before or after the private one tells of it."""


class Move(msgspec.Struct):
    """A change of our lots at a price, and the time in which the public comes to see it, ns of arrival."""

    open_ns: int
    close_ns: int
    side: int
    price: int
    lots: int


class OwnLots:
    """Our lots in a book that is followed update by update.

    Parameters
    ----------
    log : Log

    """

    def __init__(self, log: Log) -> None:
        self._coming = sorted(_moves(log), key=lambda move: move.open_ns)
        self._next = 0
        self._open: dict[tuple[int, int], list[Move]] = {}
        self._ours: dict[tuple[int, int], int] = {}
        self._shown: dict[tuple[int, int], int] = {}

    def take_out(self, event: BookUpdate | Trade) -> BookUpdate | Trade:
        """The event without our own lots; trades stand: somebody else would have been hit."""
        if not isinstance(event, BookUpdate):
            return event
        while self._next < len(self._coming) and self._coming[self._next].open_ns <= event.ts_recv:
            move = self._coming[self._next]
            self._open.setdefault((move.side, move.price), []).append(move)
            self._next += 1
        levels = [(side, price, self._others(event.ts_recv, side, price, size)) for side, price, size in event.levels]
        return msgspec.structs.replace(event, levels=levels)

    def _others(self, now_ns: int, side: int, price: int, size: int) -> int:
        level = side, price
        change = size - self._shown.get(level, 0)
        self._shown[level] = size
        waiting = self._open.get(level)
        if waiting:
            for move in list(waiting):
                is_seen = change >= move.lots if move.lots > 0 else change <= move.lots
                if is_seen or now_ns > move.close_ns:
                    waiting.remove(move)
                    self._ours[level] = self._ours.get(level, 0) + move.lots
                    change -= move.lots if is_seen else 0
        return size - min(max(self._ours.get(level, 0), 0), size)


def _moves(log: Log) -> list[Move]:
    """What our orders did, by what the exchange told of them."""
    sent: dict[str, dict[int, list[Sent]]] = {}
    for one in log.sent:
        sent.setdefault(one.key, {}).setdefault(one.kind, []).append(one)
    told = [(a.now_ns, 0, a.key, str(a.what), 0) for a in log.answered]
    told += [(f.now_ns, 1, f.key, "filled", f.lots) for f in log.filled]
    left: dict[str, int] = {}
    found = []
    for heard, _, key, what, lots in sorted(told):
        commands = sent.get(key, {})
        if Kind.PLACE not in commands or what == "kept":
            continue
        place = commands[Kind.PLACE][0]
        had = left.get(key, 0)
        opened = heard - _APART_NS
        if what == "accepted":
            has, opened = place.lots, place.now_ns
        elif what == "filled":
            has = max((had or place.lots) - lots, 0)
        elif what == "amended":
            asked = [one for one in commands.get(Kind.AMEND, []) if one.now_ns <= heard]
            has, opened = (asked[-1].lots, asked[-1].now_ns) if asked else (had, opened)
        else:
            asked = [one for one in commands.get(Kind.CANCEL, []) if one.now_ns <= heard]
            has, opened = 0, asked[-1].now_ns if asked else opened
        left[key] = has
        if has != had:
            found.append(Move(opened, heard + _APART_NS, place.side, place.price, has - had))
    return found
