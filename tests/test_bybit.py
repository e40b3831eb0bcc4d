"""Bybit's archives and captures: what each message means, which market it is of, what is left out."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pytest

from tests.dirty import MS, T0, books, cmm, events, imported, last, refused, trades, write

LINEAR, SPOT, INVERSE = "BTCUSDT-LINEAR.BYBIT", "BTCUSDT-SPOT.BYBIT", "BTCUSD-INVERSE.BYBIT"
T = T0 // MS
BIDS, ASKS = [["64000.10", "1.5"], ["64000.00", "2"]], [["64000.20", "0.5"], ["64000.30", "3"]]
TRADES = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional,RPI"
SPOT_TRADES = "id,timestamp,price,volume,side,rpi"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def book(ms: int, kind: str, u: int, bids=(), asks=(), symbol="BTCUSDT", depth=500, spot=False, **more) -> str:  # type: ignore[no-untyped-def]
    times = [("ts", T + ms), ("type", kind)] if spot else [("type", kind), ("ts", T + ms)]
    data = {"s": symbol, "b": bids, "a": asks, "u": u, "seq": 10 * u, **more}
    return json.dumps(
        {"topic": f"orderbook.{depth}.{symbol}", **dict(times), "data": data, "cts": T + ms - 2}, separators=(",", ":")
    )


def print_(ms: int, number: str, price: str = "64000.20", **more: object) -> str:
    row = {"T": T + ms, "s": "BTCUSDT", "S": "Buy", "v": "0.4", "p": price, "i": number, "BT": False, **more}
    return json.dumps({"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": T + ms + 3, "data": [row]})


def traded(ms: int, number: int, side: str = "Buy", price: str = "64000.20", size: str = "0.4") -> str:
    stamp = f"{(T + ms) // 1000}.{(T + ms) % 1000:03}5"
    return f"{stamp},BTCUSDT,{side},{size},{price},PlusTick,6a9b5c1e-{number},2.5e+12,0.4,25600.08,0"


def zipped(path: Path, *lines: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(path.name.removesuffix(".zip"), "\n".join(lines) + "\n")
    return path


def test_an_archive_with_its_trades_is_one_recording(home: Path) -> None:
    lines = [
        book(0, "snapshot", 100, BIDS, ASKS),
        book(100, "delta", 101, bids=[["64000.10", "0"]]),
        book(200, "delta", 102, bids=[["64000.10", "4.2"]], asks=[["64000.20", "0"]]),
    ]
    path = zipped(home / "2024-07-19_BTCUSDT_ob500.data.zip", *lines)
    with gzip.open(home / "BTCUSDT2024-07-19.csv.gz", "wt") as file:
        file.write("\n".join([TRADES, traded(99, 1, "Sell", "64000.10"), traded(99, 1, "Sell"), traded(250, 2)]) + "\n")
    counts = imported(path, home / "BTCUSDT2024-07-19.csv.gz")
    assert counts == {"duplicate_trade": 1}
    shown = events(LINEAR)
    assert [e["kind"] for e in shown] == ["book", "trade", "book", "book", "trade"]
    assert (shown[0]["ts"], shown[0]["ts_event"]) == (T0, T0 - 2 * MS)
    assert shown[1]["ts"] == T0 + 99 * MS + MS // 2
    assert trades(LINEAR) == [(64000.1, 400, "sell"), (64000.2, 400, "buy")]
    assert last(LINEAR) == ([[64000.1, 4.2], [64000.0, 2.0]], [[64000.3, 3.0]])


def test_a_restart_and_a_snapshot_sent_again_replace_the_book(home: Path) -> None:
    lines = [
        book(0, "snapshot", 100, BIDS, ASKS),
        book(100, "snapshot", 140, [["63999.90", "1"]], ASKS),
        book(200, "delta", 141, bids=[["63999.80", "2"]]),
        book(300, "delta", 1, [["63999.00", "3"]], [["63999.50", "4"]], seq=7),  # whatever its type says
        book(400, "delta", 2, bids=[["63999.00", "5"]], seq=8),
    ]
    assert imported(write(home / "a.data", *lines)) == {}
    assert [b[1][0] for b in books(LINEAR)] == [
        [64000.1, 1.5], [63999.9, 1.0], [63999.9, 1.0], [63999.0, 3.0], [63999.0, 5.0],
    ]  # fmt: skip
    assert last(LINEAR) == ([[63999.0, 5.0]], [[63999.5, 4.0]])


def test_what_is_lost_or_comes_again_is_counted(home: Path) -> None:
    lines = [
        book(-10, "delta", 99, bids=[["64000.10", "9"]]),
        book(0, "snapshot", 100, BIDS, ASKS),
        book(100, "delta", 103, bids=[["64000.10", "7"]]),
        book(90, "delta", 102, bids=[["64000.10", "0"]]),
        book(50, "snapshot", 101, [["63000.00", "1"]], ASKS),
        book(200, "delta", 104, bids=[["64000.05", "1"], ["64000.00", "3"]]),
        '{"success":true,"ret_msg":"pong","conn_id":"1","op":"ping"}',
    ]
    assert imported(write(home / "a.data", *lines)) == {
        "diff_before_snapshot": 1,
        "sequence_gap": 1,
        "diff_older_than_snapshot": 1,
        "snapshot_older_than_book": 1,
        "off_tick": 1,
        "control_message": 1,
    }
    assert last(LINEAR)[0] == [[64000.1, 7.0], [64000.0, 3.0]]


@pytest.mark.parametrize("prefix", ["{ns} ", "{ms}\t", "{s:.6f},", "2024-07-19T00:00:{sec:09.6f}Z "])
def test_a_capture_of_the_socket(home: Path, prefix: str) -> None:
    def line(ms: int, text: str) -> str:
        ns = T0 + ms * MS
        return prefix.format(ns=ns, ms=ns // MS, s=ns / 1e9, sec=ms / 1000) + text

    lines = [
        line(5, book(0, "snapshot", 100, BIDS, ASKS, depth=50)),
        line(12, print_(10, "a", L="PlusTick")),
        line(13, print_(10, "a", L="PlusTick")),
        line(14, print_(11, "b", L="PlusTick", BT=True)),
        line(15, book(11, "snapshot", 7, BIDS[1:], ASKS, depth=1)),
        line(25, book(20, "delta", 101, bids=[["64000.10", "0"]], depth=50)),
    ]
    assert imported(write(home / "a.txt", *lines)) == {
        "duplicate_trade": 1,
        "trade_not_on_book": 1,
        "shallower_book": 1,
    }
    shown = events(LINEAR)
    assert [(e["ts"] - T0, e["ts_event"] - T0) for e in shown] == [
        (5 * MS, -2 * MS),
        (12 * MS, 10 * MS),
        (25 * MS, 18 * MS),
    ]
    assert last(LINEAR)[0] == [[64000.0, 2.0]]


def test_best_quotes_alone_are_a_recording(home: Path) -> None:
    best = [["64000.10", "15000"]], [["64000.20", "40"]]
    lines = [book(ms, "snapshot", 7, *best, symbol="BTCUSD", depth=1) for ms in (0, 10, 3010)]
    assert imported(write(home / "a.data", *lines)) == {}
    assert last(INVERSE) == ([[64000.1, 15_000.0]], [[64000.2, 40.0]])  # sizes are dollars


def test_the_market_is_told_by_what_only_it_has(home: Path) -> None:
    depth = {"depth": 200}
    spot = [
        book(0, "snapshot", 100, BIDS, ASKS, spot=True, **depth),
        book(9, "delta", 101, BIDS[:1], spot=True, **depth),
    ]
    derivative = [book(0, "snapshot", 100, BIDS, ASKS, **depth), book(9, "delta", 101, BIDS[:1], **depth)]
    imported(write(home / "spot.data", *spot))
    imported(write(home / "linear.data", *derivative))
    assert len(books(SPOT)) == len(books(LINEAR)) == 2
    refused(cmm("import", write(home / "both.data", spot[0], derivative[1])), "spot or linear", "folder named")
    (home / "spot").mkdir()
    result = cmm("import", write(home / "spot" / "2024-07-20_BTCUSDT_ob200.data", *derivative), "--set", "data.path=b")
    assert result.exit_code == 0
    assert SPOT in result.stdout


def test_spot_trades_take_their_symbol_from_the_name_and_say_the_market(home: Path) -> None:
    rows = [SPOT_TRADES, f"1,{T + 5},64000.2,0.000371,buy,0", f"2,{T + 6},64000.1,0.25,sell,1"]
    path = write(home / "BTCUSDT_2024-07-19.csv", *rows)
    book_file = write(home / "a.data", book(0, "snapshot", 100, BIDS, ASKS, depth=200))
    imported(book_file, path)
    assert trades(SPOT) == [(64000.2, 371, "buy"), (64000.1, 250_000, "sell")]
    refused(cmm("import", write(home / "trades.csv", *rows)), "its name says no symbol")


def test_trades_beside_best_quotes_say_the_market(home: Path) -> None:
    best = write(home / "a.data", book(0, "snapshot", 7, BIDS[:1], ASKS[:1], depth=1))
    refused(cmm("import", best), "spot or linear", "folder named")
    result = cmm("import", best, write(home / "b.csv", TRADES, traded(1, 1)))
    assert result.exit_code == 0, result.output
    assert "taken for Bybit's linear market: the trades given with it" in result.stdout
    assert (len(books(LINEAR)), len(trades(LINEAR))) == (1, 1)


def test_trades_alone_are_kept(home: Path) -> None:
    imported(write(home / "BTCUSDT2024-07-19.csv", TRADES.removesuffix(",RPI"), traded(1, 1).removesuffix(",0")))
    assert trades(LINEAR) == [(64000.2, 400, "buy")]


def test_a_symbol_that_comes_late_is_of_the_same_socket(home: Path) -> None:
    lines = [
        book(0, "snapshot", 100, BIDS, ASKS, depth=50),
        *(book(i, "delta", 100 + i, depth=50) for i in range(1, 600)),
    ]
    best = [["3000.10", "1"]], [["3000.20", "1"]]
    late = [
        book(701, "snapshot", 5, [*best[0], ["3000.00", "2"]], best[1], symbol="ETHUSDT", depth=50),
        book(702, "snapshot", 10, *best, symbol="ETHUSDT", depth=1),
    ]
    assert imported(write(home / "a.data", *lines, *late)) == {"shallower_book": 1}
    assert last("ETHUSDT-LINEAR.BYBIT")[0] == [[3000.1, 1.0], [3000.0, 2.0]]


def test_refusals(home: Path) -> None:
    good = [book(0, "snapshot", 100, BIDS, ASKS), book(100, "delta", 101, BIDS)]
    only = write(home / "deltas.data", *good[1:])
    refused(cmm("import", only), "no snapshot")
    refused(
        cmm("import", write(home / "odd.data", good[0], good[1].replace('"b":', '"x":'))), "line 2", "unexpected shape"
    )
    refused(cmm("import", write(home / "cut.data", good[0], good[1][:40])), "line 2", "not a JSON message")
