"""Faults of raw captures: each was once a wrong book, or a lost or doubled trade, without a word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.dirty import MS, T0, books, cmm, events, imported, last, refused, trades, write

BTC = "BTCUSDT-PERP.BINANCE"
BIDS, ASKS = [["100.0", "1"], ["99.9", "2"]], [["100.1", "1"], ["100.2", "2"]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def line(ms: float, message: object) -> str:
    return f"{T0 + round(ms * MS)} {json.dumps(message, separators=(',', ':'))}"


def diff(ms: float, first: int, last_id: int, previous: int, bids=(), asks=(), symbol: str = "btcusdt", **more) -> str:  # type: ignore[no-untyped-def]
    stamp = T0 // MS + round(ms)
    data = {"e": "depthUpdate", "E": stamp, "T": stamp, "U": first, "u": last_id, "pu": previous, "b": bids, "a": asks}
    return line(ms, {"stream": f"{symbol}@depth@0ms", "data": {**data, **more}})


def snapshot(ms: float, last_id: int, bids=BIDS, asks=ASKS, **more) -> str:  # type: ignore[no-untyped-def]
    return line(ms, {"lastUpdateId": last_id, "E": T0 // MS, "T": T0 // MS, "bids": bids, "asks": asks, **more})


def trade(ms: float, number: int, price: str = "100.1", symbol: str = "btcusdt") -> str:
    stamp = T0 // MS + round(ms)
    data = {"e": "trade", "E": stamp, "T": stamp, "t": number, "p": price, "q": "0.4", "X": "MARKET", "m": False}
    return line(ms, {"stream": f"{symbol}@trade", "data": data})


def aggregate(ms: float, number: int, first: int, last_id: int) -> str:
    stamp = T0 // MS + round(ms)
    data = {"e": "aggTrade", "E": stamp, "T": stamp, "a": number, "f": first, "l": last_id, "p": "100.1", "q": "0.4"}
    return line(ms, {"stream": "btcusdt@aggTrade", "data": {**data, "m": False}})


def test_a_snapshot_older_than_the_book_gets_the_newer_diffs_again(home: Path) -> None:
    lines = [
        snapshot(0, 100),
        diff(10, 101, 101, 100, bids=[["99.9", "3"]]),
        diff(20, 102, 102, 101, bids=[["100.0", "0"]], asks=[["100.1", "0"]]),
        diff(30, 103, 103, 102, bids=[["100.1", "4"]]),
        snapshot(40, 101, bids=[["100.0", "1"], ["99.9", "3"]]),
        diff(50, 104, 104, 103, asks=[["100.3", "6"]]),
    ]
    counts = imported(write(home / "a.txt", *lines))
    assert last(BTC) == ([[100.1, 4.0], [99.9, 3.0]], [[100.2, 2.0], [100.3, 6.0]])
    assert "sequence_gap" not in counts
    assert all(not bids or not asks or bids[0][0] < asks[0][0] for _, bids, asks in books(BTC))


def test_after_a_gap_an_older_snapshot_mends_the_book(home: Path) -> None:
    lines = [
        snapshot(0, 100),
        diff(10, 120, 121, 119, bids=[["99.8", "5"]]),  # 101 to 119 are lost
        snapshot(20, 120, bids=[["100.0", "7"], ["99.8", "9"]]),
        diff(30, 122, 122, 121, asks=[["100.1", "3"]]),
    ]
    counts = imported(write(home / "a.txt", *lines))
    assert counts["sequence_gap"] == 1
    assert last(BTC) == ([[100.0, 7.0], [99.8, 5.0]], [[100.1, 3.0], [100.2, 2.0]])


def test_a_change_is_never_dropped_for_its_time(home: Path) -> None:
    lines = [
        snapshot(0, 100),
        diff(3000, 101, 101, 100, bids=[["99.8", "4"]]),
        diff(1000, 102, 102, 101, bids=[["100.0", "0"]]),  # the receiving clock was set back by two seconds
        trade(1500, 1),
        diff(3100, 103, 103, 102, asks=[["100.1", "0"]]),
    ]
    counts = imported(write(home / "a.txt", *lines))
    assert last(BTC) == ([[99.9, 2.0], [99.8, 4.0]], [[100.2, 2.0]])
    assert trades(BTC) == [(100.1, 400, "buy")]
    assert counts["clock_back"] == 2
    stamps = [e["ts"] for e in events(BTC)]
    assert stamps == sorted(set(stamps))


def test_one_stamp_far_off_takes_the_time_of_its_neighbours(home: Path) -> None:
    lines = [
        snapshot(0, 100),
        diff(1000, 101, 101, 100, bids=[["99.8", "4"]]),
        diff(86_400_000, 102, 102, 101, bids=[["99.7", "5"]]),
        diff(1100, 103, 103, 102, bids=[["99.6", "6"]]),
    ]
    counts = imported(write(home / "a.txt", *lines))
    assert counts["far_stamp"] == 1
    assert books(BTC)[-1][0] == T0 + 1100 * MS
    assert len(last(BTC)[0]) == 5


def test_files_in_disorder_are_refused(home: Path) -> None:
    late = [snapshot(7_200_000, 100), diff(7_200_001, 101, 101, 100, bids=[["99.8", "4"]])]
    early = [diff(i, 100 + i, 100 + i, 99 + i, bids=[["99.7", "4"]]) for i in (2, 3)]
    refused(cmm("import", write(home / "a.txt", diff(0, 99, 100, 98), *late, *early)), "time runs backwards by", "sort")


def test_what_comes_twice_counts_once(home: Path) -> None:
    lines = [snapshot(0, 100)]
    for ms in (10, 11):
        lines += [trade(ms, 1), diff(ms, 101, 101, 100, bids=[["99.8", str(ms)]])]
    counts = imported(write(home / "a.txt", *lines))
    assert trades(BTC) == [(100.1, 400, "buy")]
    assert counts["duplicate_trade"] == 1
    assert last(BTC)[0][-1] == [99.8, 10.0]


@pytest.mark.parametrize("ids", [(901, 901), (1, 1)])
def test_trades_and_aggregate_trades_are_one_stream(home: Path, ids: tuple[int, int]) -> None:
    path = write(home / "a.txt", diff(0, 99, 100, 98), snapshot(1, 100), aggregate(10, 901, *ids), trade(11, 1))
    assert imported(path)["aggregate_trade"] == 1
    assert trades(BTC) == [(100.1, 400, "buy")]


def test_aggregate_trades_alone_are_told(home: Path) -> None:
    path = write(
        home / "a.txt", diff(0, 99, 100, 98), snapshot(1, 100), aggregate(10, 901, 5, 7), aggregate(12, 901, 5, 7)
    )
    assert imported(path)["duplicate_trade"] == 1
    assert trades(BTC) == [(100.1, 400, "buy")]


@pytest.mark.parametrize("per_ms", [1, 1000])
@pytest.mark.parametrize("prefix", [1, 1000, 1_000_000, 1_000_000_000])
def test_times_in_seconds_milli_micro_and_nanoseconds(home: Path, per_ms: int, prefix: int) -> None:
    stamp = (T0 // MS + 1000) * per_ms
    data = {"e": "depthUpdate", "E": stamp, "U": 101, "u": 101, "b": [["99.00", "1"]], "a": []}
    lines = [
        f'{T0 // prefix} {{"lastUpdateId": 100, "bids": [["98.00", "1"]], "asks": [["101.00", "1"]]}}',
        f"{(T0 + 1000 * MS) // prefix} {json.dumps({'stream': 'btcusdt@depth@100ms', 'data': data})}",
    ]
    imported(write(home / "a.txt", *lines))
    event = events("BTCUSDT.BINANCE")[-1]
    assert (event["ts"], event["ts_event"]) == (T0 + 1000 * MS, T0 + 1000 * MS)


def test_control_messages_are_skipped_and_counted(home: Path) -> None:
    control = [{"result": None, "id": 1}, {"code": 2, "msg": "no"}, [], {"stream": "!miniTicker@arr", "data": []}]
    counts = imported(write(home / "a.txt", *(line(-9, m) for m in control), diff(0, 99, 100, 98), snapshot(1, 100)))
    assert counts["control_message"] == 3
    assert len(books(BTC)) == 1


@pytest.mark.parametrize(
    ("symbol", "instrument"),
    [
        ("btcusdt_240927", "BTCUSDT_240927.BINANCE"),
        ("btcusd_perp", "BTCUSD_PERP.BINANCE"),
        ("ethusd_250328", "ETHUSD_250328.BINANCE"),
    ],
)
def test_delivery_and_coin_margined_contracts(home: Path, symbol: str, instrument: str) -> None:
    lines = [
        diff(0, 99, 100, 98, symbol=symbol, ps="X"),
        snapshot(1, 100, symbol=symbol.upper()),
        diff(2, 101, 101, 100, bids=[["100.0", "7"]], symbol=symbol),
    ]
    imported(write(home / "a.txt", *lines))
    assert last(instrument)[0][0] == [100.0, 7.0]


def test_two_symbols_in_one_capture_are_two_books(home: Path) -> None:
    lines = [
        diff(0, 99, 100, 98),
        diff(1, 99, 100, 98, symbol="ethusdt"),
        snapshot(2, 100, symbol="BTCUSDT"),
        snapshot(3, 100, bids=[["50.0", "1"]], asks=[["50.1", "1"]], symbol="ETHUSDT"),
        trade(4, 1, "50.1", "ethusdt"),
        diff(5, 101, 101, 100, bids=[["100.0", "9"]]),
    ]
    imported(write(home / "a.txt", *lines))
    assert last(BTC)[0][0] == [100.0, 9.0]
    assert last("ETHUSDT-PERP.BINANCE") == ([[50.0, 1.0]], [[50.1, 1.0]])
    assert trades(BTC) == []
    lines[2:4] = [snapshot(2, 100)]
    refused(cmm("import", write(home / "b.txt", *lines)), "do not say whose", "split it by symbol")


def test_prices_off_the_tick_are_counted_and_a_wrong_tick_is_refused(home: Path) -> None:
    lines = [snapshot(0, 100), diff(1, 101, 101, 100, bids=[["99.85", "4"], ["99.8", "5"]])]
    assert imported(write(home / "a.txt", lines[1], *lines))["off_tick"] == 1
    assert last(BTC)[0] == [[100.0, 1.0], [99.9, 2.0], [99.8, 5.0]]
    many = [diff(10 + i, 102 + i, 102 + i, 101 + i, bids=[["99.85", "4"]]) for i in range(20)]
    refused(cmm("import", write(home / "b.txt", lines[1], *lines, *many), "--again"), "no multiple of the tick 0.1")


@pytest.mark.parametrize("price", ["0.0", "-37.6"])
def test_prices_of_zero_and_below_are_refused(home: Path, price: str) -> None:
    path = write(home / "a.txt", diff(0, 99, 100, 98), snapshot(1, 100, bids=[[price, "1"]]))
    refused(cmm("import", path), f"a price of {price}", "zero or below")


def test_a_side_that_is_empty_is_not_a_price(home: Path) -> None:
    quote = {"u": 101, "s": "BTCUSDT", "b": "0.0", "B": "0", "a": "100.1", "A": "3"}
    lines = [diff(0, 99, 100, 98), snapshot(1, 100), line(2, {"stream": "btcusdt@bookTicker", "data": quote})]
    imported(write(home / "a.txt", *lines))
    assert last(BTC)[1][0] == [100.1, 3.0]
