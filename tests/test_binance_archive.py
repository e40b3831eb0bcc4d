"""Binance's public archive: columns with and without headers, markets by their columns, what is no book."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.dirty import MS, T0, cmm, events, imported, last, refused, trades, write

PERP, SPOT, COIN = "BTCUSDT-PERP.BINANCE", "BTCUSDT.BINANCE", "BTCUSD_PERP.BINANCE"
T = T0 // MS
DAY = "2024-07-19"
TRADES = "id,price,qty,quote_qty,time,is_buyer_maker"
AGGREGATES = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
QUOTES = "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time"
DEPTH = "timestamp,percentage,depth,notional"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def zipped(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(path.name.replace(".zip", ".csv"), "\n".join(lines) + "\n")
    return path


def trade(ms: int, number: int, maker: str = "true", price: str = "100.1", size: str = "0.4") -> str:
    return f"{number},{price},{size},40.04,{T + ms},{maker}"


def aggregate(ms: int, number: int, first: int, end: int) -> str:
    return f"{number},100.1,0.4,{first},{end},{T + ms},false"


def quote(ms: int, number: int, bid: str = "100.0", ask: str = "100.2") -> str:
    return f"{number},{bid},2.000,{ask},3.000,{T + ms - 4},{T + ms}"


def test_quotes_and_trades_are_one_recording(home: Path) -> None:
    quotes = [QUOTES, quote(0, 9), quote(10, 10, bid="99.9"), quote(9, 8), quote(30, 11, ask="100.15"), quote(40, 12)]
    names = [f"BTCUSDT-{kind}-{DAY}.zip" for kind in ("bookTicker", "trades", "bookDepth")]
    files = [
        zipped(home / names[0], *quotes),
        zipped(
            home / names[1], TRADES, trade(10, 1), trade(10, 1), trade(20, 2, "false", size="0"), trade(20, 3, "false")
        ),
        zipped(home / names[2], DEPTH, f"{DAY} 00:00:00,-5,100,1000", f"{DAY} 00:00:00,5,100,1000"),
    ]
    result = cmm("import", *files)
    assert result.exit_code == 0, result.output
    assert "no book" in result.stdout
    assert imported(*files) == {
        "duplicate_trade": 1, "empty_trade": 1, "quote_older_than_book": 1, "off_tick": 1,
    }  # fmt: skip
    shown = events(PERP)
    assert [(e["kind"], e["ts"] - T0, e["ts_event"] - T0) for e in shown] == [
        ("book", 0, -4 * MS), ("trade", 10 * MS, 10 * MS), ("book", 10 * MS + 1, 6 * MS),
        ("trade", 20 * MS, 20 * MS), ("book", 40 * MS, 36 * MS),
    ]  # fmt: skip
    assert trades(PERP) == [(100.1, 400, "sell"), (100.1, 400, "buy")]
    assert last(PERP) == ([[100.0, 2.0]], [[100.2, 3.0]])


def test_spot_and_futures_are_told_by_their_columns(home: Path) -> None:
    spot = [f"{trade(0, 1)},True", f"2,100.1,0.4,40.04,{T0 // 1000 + 2500},False,True"]  # µs since 2025
    imported(zipped(home / "a" / f"BTCUSDT-trades-{DAY}.zip", *spot))
    assert [e["ts"] - T0 for e in events(SPOT)] == [0, 2_500_000]
    imported(write(home / f"BTCUSDT-trades-{DAY}.csv", trade(0, 1)))
    imported(write(home / f"BTCUSD_PERP-trades-{DAY}.csv", TRADES.replace("quote", "base"), trade(0, 1, size="12")))
    assert (len(trades(PERP)), trades(COIN)) == (1, [(100.1, 12, "sell")])
    imported(write(home / f"ETHUSDT_240927-aggTrades-{DAY}.csv", AGGREGATES, aggregate(0, 1, 1, 3)))
    assert len(trades("ETHUSDT_240927.BINANCE")) == 1
    wrong = zipped(home / "data" / "spot" / "daily" / f"BTCUSDT-trades-{DAY}.zip", trade(0, 1))
    refused(cmm("import", wrong), "columns are those of futures", "of spot")


def test_aggregates_tell_the_days_that_trades_do_not(home: Path) -> None:
    later = 86_400_000
    files = [
        write(home / "BTCUSDT-trades-2024-07-19.csv", TRADES, trade(5, 1), trade(6, 2)),
        write(home / "BTCUSDT-aggTrades-2024-07-19.csv", AGGREGATES, aggregate(5, 1, 1, 2)),
        write(home / "BTCUSDT-aggTrades-2024-07-20.csv", AGGREGATES, aggregate(later, 2, 3, 9)),
    ]
    result = cmm("import", *files)
    assert "BTCUSDT-aggTrades-2024-07-19.csv: left out" in result.stdout
    assert [e["ts"] - T0 for e in events(PERP)] == [5 * MS, 6 * MS, later * MS]


def test_depth_within_percents_is_no_book(home: Path) -> None:
    path = zipped(home / f"BTCUSDT-bookDepth-{DAY}.zip", DEPTH, f"{DAY} 00:00:08,-5,100.0,6400000.0")
    refused(cmm("import", path), "bookDepth", "no book", "bookTicker")


def test_names_and_rows_that_do_not_say_enough_are_refused(home: Path) -> None:
    refused(cmm("import", write(home / "x.csv", TRADES, trade(0, 1))), "does not say whose it is")
    refused(cmm("import", write(home / "y.csv", trade(0, 1))), "no known recording format")
    bad = write(home / f"BTCUSDT-trades-{DAY}.csv", TRADES, trade(0, 1), trade(1, 2, "maybe"))
    refused(cmm("import", bad), "line 3", "'is_buyer_maker'")
    late = write(home / f"BTCUSDT-bookTicker-{DAY}.csv", QUOTES, *(quote(i, i) for i in (3_600_000, 3_600_001, 1, 2)))
    refused(cmm("import", late), "time runs backwards", "sort")
