"""Binance raw socket captures, spot, USD-M and COIN-M: `<receive time> <json>` a line.

The receive time is in s, ms, µs or ns. Streams: `@depth` diffs, `@trade`, `@aggTrade`, `@bookTicker`, and
the REST depth snapshot as a bare object. Several symbols may stand in one capture; answers to
subscriptions and the like are skipped and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from market.errors import DataError
from market.events import Event
from venues.recordings.loaders.base import Recording, Traits, lines
from venues.recordings.loaders.binance_stream import BinanceStream
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.order import in_time
from venues.recordings.loaders.units import epoch_ns
from venues.recordings.terms import RecordingTerms

_LINE = re.compile(r"\d{10,19} [\{\[]")
_HEAD_LINES = 500
_KINDS = {"depthUpdate": "depth", "trade": "trade", "aggTrade": "aggTrade", "bookTicker": "bookTicker"}


class BinanceLoader:
    """Captures of the same symbols join into one recording, in order of time."""

    name = "binance"
    traits = Traits(books_first=True)

    def recognises(self, path: Path, head: str) -> bool:
        return _LINE.match(head) is not None

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        groups: dict[tuple[str, ...], list[tuple[int, Path]]] = {}
        for path in paths:
            markets, first, _ = _markets(path)
            groups.setdefault(tuple(sorted(markets.values())), []).append((first, path))
        return [Recording(self.name, tuple(p for _, p in sorted(files))) for files in groups.values()]

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        return in_time(_read(recording, terms, findings), findings, recording.name)


def _read(recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
    router = _Router(recording, terms, findings)
    for path in recording.files:
        router.next_file(path)
        for number, line in lines(path):
            if not line:
                continue
            where = f"{path}, line {number}"
            ts, message = _parse(line, where)
            try:
                yield from router.events(ts, message)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
                raise DataError(f"{where}: a message of unexpected shape ({error!r})") from error
    router.finish()


class _Router:
    """Gives each message to the stream of its symbol."""

    def __init__(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> None:
        self._path, self._terms, self._findings = recording.files[0], terms, findings
        self._streams: dict[str, BinanceStream] = {}
        self._nameless = False  # a snapshot that does not say whose it is was taken
        self._told: set[str] = set()  # symbols whose trades the file tells one by one

    def next_file(self, path: Path) -> None:
        """Trades and aggregate trades of a market are one stream: where a file has both, the aggregates are left."""
        markets, first, self._told = _markets(path)
        for symbol, name in markets.items():
            if symbol not in self._streams:
                self._add(symbol, name, first)

    def events(self, ts: int, message: Any) -> Sequence[Event]:
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
            stream = self._add(symbol, _name(symbol, "pu" in message), ts)
        if kind == "trade":
            self._told.add(symbol)
        elif kind == "aggTrade" and symbol in self._told:
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
        stream = self._streams[symbol] = BinanceStream(contract, self._findings.of(contract.id))
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
    if "lastUpdateId" in message and "bids" in message:
        return message, str(message.get("symbol", "")).lower(), "snapshot"
    if "stream" in message and "data" in message:
        symbol, _, kind = str(message["stream"]).partition("@")
        return message["data"], symbol, kind.partition("@")[0] if symbol else "control"
    if "s" in message and message.get("e") in _KINDS:
        return message, str(message["s"]).lower(), _KINDS[message["e"]]
    result = message.get("result")
    if isinstance(result, dict) and "lastUpdateId" in result:
        return result, str(result.get("symbol", "")).lower(), "snapshot"
    return message, "", "control"


def _parse(line: str, where: str) -> tuple[int, Any]:
    stamp, _, text = line.partition(" ")
    try:
        return epoch_ns(int(stamp)), msgspec.json.decode(text)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{where}: not `<time> <json>` ({error})") from error


def _markets(path: Path) -> tuple[dict[str, str], int, set[str]]:
    """From the first lines: symbols with their contract names, the first receive time, whose trades are told."""
    first, found, told = 0, dict[str, str](), set[str]()
    for number, line in lines(path):
        if not line:
            continue
        ts, message = _parse(line, f"{path}, line {number}")
        first = first or ts
        content, symbol, kind = _envelope(message)
        if kind == "depth" and isinstance(content, dict) and symbol not in found:
            found[symbol] = _name(symbol, "pu" in content)
        elif kind == "trade":
            told.add(symbol)
        if number >= _HEAD_LINES and found:
            break
    if not found:
        raise DataError(f"{path}: the capture has no depth stream")
    return found, first, told


def _name(symbol: str, futures: bool) -> str:
    """A stream's symbol as the contract table has it: `btcusdt` is BTCUSDT-PERP where it is a future."""
    return symbol.upper() if "_" in symbol or not futures else f"{symbol.upper()}-PERP"
