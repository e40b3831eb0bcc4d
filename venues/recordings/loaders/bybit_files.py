"""What a Bybit file is: socket messages or trades, of which symbols, and of which market they are.

Nothing in a message names the market. A folder `spot`, `linear` or `inverse` in the file's path does, as in
Bybit's own archive; else a symbol's form (`BTCUSD`, `BTCUSDZ25` are inverse, `BTC-27DEC24`, `BTCPERP` linear); the
tick direction `L`, which only trades of derivatives bear; the depth of 500, which spot does not have; or, weakest, the
order of the keys: spot books write `ts` before `type`, those of derivatives after it (bybit-exchange/docs,
v5/websocket/public/orderbook and trade).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from market.errors import DataError
from venues.recordings.loaders.base import Rows, head
from venues.recordings.loaders.socket_capture import ODD, Capture, odd, word
from venues.recordings.loaders.units import epoch_ns
from venues.recordings.loaders.venue_symbols import is_bybit_inverse

MARKETS = ("spot", "linear", "inverse")
SPOT, LINEAR, INVERSE = MARKETS
_HEAD_MESSAGES = 500
_DERIVATIVES_DEPTH = 500
_LINEAR = re.compile(r"[A-Z0-9]+(?:-\d{1,2}[A-Z]{3}\d\d|PERP)")
_SPOT_NAME = re.compile(r"([A-Z0-9]+)[_-]\d{4}-\d\d")
_TRADES = "timestamp,symbol,side,size,price"
_SPOT_TRADES = "id,timestamp,price,volume,side"
_MESSAGES = re.compile(r'"topic"\s*:\s*"(?:orderbook\.[\w.]+|publicTrade)\.')

type Topic = tuple[str, int, str]
"""Kind of stream, depth of a book (0 where none is named), symbol."""


class BybitFile(msgspec.Struct):
    """A file with its symbols' markets; `why` says of those that only a weak sign tells which it was."""

    path: Path
    kind: str
    first_ns: int
    markets: dict[str, str]
    depths: dict[str, int]
    why: dict[str, str]

    def market_of(self, symbol: str) -> str:
        """The market of a symbol; one that comes later is of the socket of those before it."""
        if symbol not in self.markets:
            if len({market == SPOT for market in self.markets.values()}) > 1:
                raise DataError(
                    f"{self.path}: {symbol} is not among its first messages, which tell the market; "
                    "put the file into a folder named spot, linear or inverse"
                )
            is_spot = SPOT in self.markets.values()
            self.markets[symbol] = SPOT if is_spot else _derivative(symbol)
        return self.markets[symbol]


def kind(head: str) -> str | None:
    """`messages`, `trades`, `spot_trades`, or None for a file of another format."""
    first = head.split("\n", 1)[0].strip().lower()
    if first.startswith(_TRADES):
        return "trades"
    if first.startswith(_SPOT_TRADES):
        return "spot_trades"
    return "messages" if _MESSAGES.search(head) else None


def topic(message: Any) -> Topic | None:
    """The stream of a message; None for answers, heartbeats and the like."""
    if not isinstance(message, dict) or not isinstance(message.get("topic"), str):
        return None
    name, _, rest = message["topic"].partition(".")
    depth, _, symbol = rest.rpartition(".")
    if name == "orderbook":
        return ("orderbook", int(depth), symbol) if depth.isdecimal() else (f"orderbook_{depth}", 0, symbol)
    return name, 0, symbol


def sent(message: Any) -> int | None:
    """When the exchange sent a message, ns."""
    stamp = message.get("ts") if isinstance(message, dict) else None
    return epoch_ns(int(stamp)) if stamp is not None else None


def look(path: Path) -> BybitFile:
    """Read a file's head."""
    what = kind(head(path)) or "messages"
    if what == "messages":
        return _messages(path)
    if what == "trades":
        row = _first(path)
        symbol = row.text("symbol").strip()
        return BybitFile(path, what, row.stamp("timestamp"), {symbol: _derivative(symbol)}, {}, {})
    named = next((found for name in (path.name, path.parent.name) if (found := _SPOT_NAME.match(name))), None)
    if named is None:
        raise DataError(f"{path}: its name says no symbol; name it as Bybit does, BTCUSDT_2024-07-18.csv")
    return BybitFile(path, what, _first(path).stamp("timestamp"), {named.group(1): SPOT}, {}, {})


def settle(files: Sequence[BybitFile]) -> None:
    """Trades beside a book say its market where at best the order of keys does.

    Raises
    ------
    DataError
        Nothing says it.

    """
    beside: dict[str, set[str]] = {}
    for file in files:
        if file.kind != "messages":
            for symbol, market in file.markets.items():
                beside.setdefault(symbol, set()).add(market)
    for file in files:
        for symbol in file.why:
            markets = beside.get(symbol, set())
            if len(markets) == 1:
                (file.markets[symbol],) = markets
                file.why[symbol] = "the trades given with it are of that market"
            elif not file.markets[symbol]:
                raise DataError(
                    f"{file.path}: {symbol} may be of Bybit's spot or linear market, and nothing in the file says "
                    "which; put it into a folder named spot, linear or inverse"
                )


def _messages(path: Path) -> BybitFile:
    """Judge the markets by the first messages."""
    file = BybitFile(path, "messages", 0, {}, {}, {})
    orders: dict[str, set[str]] = {}
    marks: dict[str, str] = {}
    for number, (where, ts, message) in enumerate(Capture(path, sent)):
        file.first_ns = file.first_ns or ts
        try:
            _note(message, file, orders, marks)
        except ODD as error:
            raise odd(where, error) from error
        if number >= _HEAD_MESSAGES and file.depths:
            break
    symbols = dict.fromkeys([*file.depths, *marks])
    if not symbols:
        raise DataError(f"{path}: it holds no order book and no trades of Bybit")
    folder = next((part.lower() for part in reversed(path.parts[:-1]) if part.lower() in MARKETS), None)
    for symbol in symbols:
        market, why = _judge(symbol, folder, marks.get(symbol), orders.get(symbol, set()))
        file.markets[symbol] = market
        if why or not market:
            file.why[symbol] = why
    return file


def _note(message: Any, file: BybitFile, orders: dict[str, set[str]], marks: dict[str, str]) -> None:
    """What a message tells of its symbol's market."""
    found = topic(message)
    if found is None:
        return
    name, depth, symbol = found
    if name == "orderbook":
        symbol = word(message["data"]["s"])
        file.depths[symbol] = max(depth, file.depths.get(symbol, 0))
        keys = list(message)
        if depth == _DERIVATIVES_DEPTH:
            marks[symbol] = LINEAR
        if depth > 1:
            orders.setdefault(symbol, set()).add(SPOT if keys.index("ts") < keys.index("type") else LINEAR)
    elif name == "publicTrade":
        for trade in message["data"]:
            marks.setdefault(word(trade["s"]), LINEAR if "L" in trade else SPOT)


def _judge(symbol: str, folder: str | None, mark: str | None, orders: set[str]) -> tuple[str, str]:
    """Market (empty where nothing tells), and the sign it was judged by where that is a weak one."""
    if folder is not None:
        return folder, ""
    if is_bybit_inverse(symbol) or _LINEAR.fullmatch(symbol):
        return _derivative(symbol), ""
    if mark is not None:
        return mark, ""
    if len(orders) == 1:
        (market,) = orders
        where = "before" if market == SPOT else "after"
        return market, f"its messages write 'ts' {where} 'type', as those of that market do"
    return "", ""


def _derivative(symbol: str) -> str:
    return INVERSE if is_bybit_inverse(symbol) else LINEAR


def _first(path: Path) -> Rows:
    for row in Rows(path):
        return row
    raise DataError(f"{path}: it holds no trades")
