"""Binance raw socket captures, spot, USD-M and COIN-M: a JSON message a line, after its receive time or without one.

Streams: `@depth` diffs, `@trade`, `@aggTrade`, `@bookTicker`, with the envelope of combined streams or bare, and
the REST depth snapshot as a bare object. Several symbols may stand in one capture; answers to subscriptions and the
like are skipped and counted. A capture without diffs tells of the best quotes alone, or of trades alone.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from market.errors import DataError
from market.events import Event
from venues.recordings.loaders.base import Recording, Traits
from venues.recordings.loaders.binance_stream import PARTIAL, BinanceStream, Shown
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.order import in_time
from venues.recordings.loaders.socket_capture import ODD, Capture, is_timed, odd
from venues.recordings.loaders.units import epoch_ns
from venues.recordings.loaders.venue_symbols import binance_future
from venues.recordings.terms import RecordingTerms

_BARE = re.compile(
    r'\{"u":\d+,"s":"\w+","b":|"(?:lastUpdateId|stream)"\s*:|"e"\s*:\s*"(?:depthUpdate|trade|aggTrade|bookTicker)"'
)
_HEAD_MESSAGES = 500
_KINDS = {"depthUpdate": "depth", "trade": "trade", "aggTrade": "aggTrade", "bookTicker": "bookTicker"}
_QUOTE = {"u", "s", "b", "B", "a", "A"}
"""Keys of a best quote; on the spot market it bears no others."""


type _Row = tuple[int, str, Any, set[str]]
"""Arrival time, place and message, with the symbols whose trades its file tells one by one."""
_SHOWN: tuple[Shown, ...] = ("book", "quotes", "trades")


class BinanceLoader:
    """Captures of the same symbols join into one recording, in order of time."""

    name = "binance"
    traits = Traits(books_first=True)

    def recognises(self, path: Path, head: str) -> bool:
        return is_timed(head) or (head.lstrip()[:1] in ("{", "[") and _BARE.search(head) is not None)

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        groups: dict[tuple[str, ...], list[tuple[int, Path, Shown]]] = {}
        for path in paths:
            head = _look(path)
            groups.setdefault(tuple(sorted(head.markets.values())), []).append((head.first, path, head.shown))
        return [
            Recording(
                self.name,
                tuple(path for _, path, _ in sorted(files)),
                trades_alone=all(shown == "trades" for _, _, shown in files),
            )
            for files in groups.values()
        ]

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        return in_time(_read(recording, terms, findings), findings, recording.name)


def _read(recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
    """Captures of the same streams follow each other; those of others run beside them, by arrival."""
    heads = {path: _look(path) for path in recording.files}
    by_shown = {shown: [path for path in heads if heads[path].shown == shown] for shown in _SHOWN}
    router = _Router(recording.files[0], next(shown for shown in _SHOWN if by_shown[shown]), terms, findings)
    lanes = [_messages(paths, heads, router) for paths in by_shown.values() if paths]
    for ts, where, message, told in heapq.merge(*lanes, key=lambda row: row[0]) if len(lanes) > 1 else lanes[0]:
        try:
            yield from router.events(ts, message, told)
        except ODD as error:
            raise odd(where, error) from error
    router.finish()


def _messages(paths: list[Path], heads: dict[Path, _Head], router: _Router) -> Iterator[_Row]:
    for path in paths:
        router.next_file(heads[path])
        capture = Capture(path, _sent)
        for where, ts, message in capture:
            yield ts, where, message, heads[path].told
        router.end_file(capture.remark)


class _Router:
    """Gives each message to the stream of its symbol."""

    def __init__(self, path: Path, shown: Shown, terms: RecordingTerms, findings: Findings) -> None:
        self._path, self._shown, self._terms, self._findings = path, shown, terms, findings
        self._streams: dict[str, BinanceStream] = {}
        self._nameless = False  # a snapshot that does not say whose it is was taken

    def next_file(self, head: _Head) -> None:
        for symbol, name in head.markets.items():
            if symbol not in self._streams:
                self._add(symbol, name, head.first)

    def end_file(self, remark: str) -> None:
        """Say what is to be said of the arrival times."""
        for stream in self._streams.values() if remark else ():
            self._findings.note(stream.id, "arrival", remark)

    def events(self, ts: int, message: Any, told: set[str]) -> Sequence[Event]:
        """Events of a message; `told` are the symbols whose trades its file tells one by one.

        Trades and aggregate trades of a market are one stream: where a file has both, the aggregates are left.
        """
        message, symbol, kind = _envelope(message)
        if kind == "control":
            self._findings.shared["control_message"] += 1
            return ()
        if kind == "snapshot" and not symbol:
            symbol = self._only()
        stream = self._streams.get(symbol)
        if stream is None:
            if kind != "depth":
                self._findings.shared[f"{kind}_before_snapshot"] += 1
                return ()
            stream = self._add(symbol, _name(symbol, _is_future(kind, message)), ts)
        if kind == "trade":
            told.add(symbol)
        elif kind == "aggTrade" and symbol in told:
            self._findings.of(stream.id)["aggregate_trade"] += 1
            return ()
        return stream.events(ts, kind, message)

    def finish(self) -> None:
        """Raise when no symbol ever got a snapshot: there is no book to tell of."""
        if not any(stream.has_book for stream in self._streams.values()):
            raise DataError(
                f"{self._path}: the capture has no book snapshot and no earlier capture to follow; "
                "import it together with the capture before it"
            )
        for stream in self._streams.values():
            stream.finish()

    def _add(self, symbol: str, name: str, ts: int) -> BinanceStream:
        if self._nameless and self._streams:
            self._refuse(symbol)
        contract = self._terms.need("BINANCE", name, ts, self._path)
        stream = self._streams[symbol] = BinanceStream(contract, self._findings.of(contract.id), self._shown)
        return stream

    def _only(self) -> str:
        """The symbol of a snapshot that does not name it."""
        symbols = list(self._streams)
        if len(symbols) > 1:
            self._refuse(symbols.pop())
        self._nameless = True
        return symbols[0]

    def _refuse(self, symbol: str) -> None:
        others = ", ".join(name for name in self._streams if name != symbol)
        raise DataError(
            f"{self._path}: the capture holds {symbol} beside {others}, and its book snapshots do not say whose "
            "they are; split it by symbol"
        )


def _envelope(message: Any) -> tuple[Any, str, str]:
    """A message's content, its symbol in lower case ("" where it names none) and its kind."""
    if not isinstance(message, dict):
        return message, "", "control"
    result = message.get("result")
    for content in (message, result) if isinstance(result, dict) else (message,):
        if "lastUpdateId" in content and "bids" in content:
            return content, str(content.get("symbol", "")).lower(), "snapshot"
    if "stream" in message and "data" in message:
        symbol, _, kind = str(message["stream"]).partition("@")
        return message["data"], symbol, kind.partition("@")[0] if symbol else "control"
    if "s" in message and message.get("e") in _KINDS:
        return message, str(message["s"]).lower(), _KINDS[message["e"]]
    if message.keys() == _QUOTE:
        return message, str(message["s"]).lower(), "bookTicker"
    return message, "", "control"


def _sent(message: Any) -> int | None:
    """When the exchange sent a message, ns; None where it does not say so."""
    content, _, _ = _envelope(message)
    stamp = (content.get("E") or content.get("T")) if isinstance(content, dict) else None
    return epoch_ns(int(stamp)) if stamp else None


class _Head(NamedTuple):
    """What the first messages of a capture show: symbols with their contract names, the first arrival time, and
    the symbols whose trades are told one by one."""

    shown: Shown
    markets: dict[str, str]
    first: int
    told: set[str]


def _look(path: Path) -> _Head:
    """Read a capture's head; all of it where no diff of a book is in it."""
    first, told = 0, set[str]()
    found: dict[str, dict[str, str]] = {"depth": {}, "bookTicker": {}, "trade": {}}
    has_snapshot = False
    for number, (where, ts, message) in enumerate(Capture(path, _sent), 1):
        first = first or ts
        try:
            content, symbol, kind = _envelope(message)
        except ODD as error:
            raise odd(where, error) from error
        has_snapshot |= kind == "snapshot"
        if kind == "trade":
            told.add(symbol)
        kind = "trade" if kind == "aggTrade" else "bookTicker" if kind in PARTIAL else kind
        if kind in found and isinstance(content, dict) and symbol not in found[kind]:
            found[kind][symbol] = _name(symbol, _is_future(kind, content))
        if number >= _HEAD_MESSAGES and found["depth"]:
            break
    if found["depth"]:
        return _Head("book", found["depth"], first, told)
    if has_snapshot or not (found["bookTicker"] or found["trade"]):
        raise DataError(f"{path}: the capture has no depth stream")
    if found["bookTicker"]:
        return _Head("quotes", found["bookTicker"], first, told)
    return _Head("trades", found["trade"], first, told)


def _is_future(kind: str, content: dict[str, Any]) -> bool:
    """Whether a message is of a futures market, by a key that only its kind of market has."""
    return "M" not in content if kind == "trade" else "pu" in content if kind == "depth" else "T" in content


def _name(symbol: str, futures: bool) -> str:
    """A stream's symbol as the contract table has it: `btcusdt` is BTCUSDT-PERP where it is a future."""
    return binance_future(symbol.upper()) if futures else symbol.upper()
