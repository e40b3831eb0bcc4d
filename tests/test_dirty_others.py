"""Faults of Tardis, Coinbase, Bitstamp, LOBSTER, SGX and Databento recordings; terms by the recording's day."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace

import databento_dbn as dbn
import pytest

from tests.dirty import T0, books, cmm, events, imported, last, refused, trades, write

TARDIS = "exchange,symbol,timestamp,local_timestamp"
BOOK = f"{TARDIS},is_snapshot,side,price,amount"
T0_US = T0 // 1000
BTC, ETH = "BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def l2(at: int, local: int, snapshot: bool, side: str, price: float, amount: float, symbol: str = "BTCUSDT") -> str:
    return f"binance-futures,{symbol},{T0_US + at},{T0_US + local},{str(snapshot).lower()},{side},{price},{amount}"


# ── Tardis ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("between", [False, True])
def test_tardis_a_snapshot_in_several_messages_is_one(home: Path, between: bool) -> None:
    other = [l2(0, 12, True, "bid", 50, 1, "ETHUSDT"), l2(0, 12, True, "ask", 51, 1, "ETHUSDT")] if between else []
    path = write(
        home / "a.csv", BOOK,
        l2(0, 10, True, "bid", 100, 1), l2(0, 10, True, "ask", 101, 1), *other,
        l2(0, 15, True, "bid", 99, 2), l2(0, 15, True, "ask", 102, 2),
        l2(30, 40, False, "bid", 98, 3),
    )  # fmt: skip
    imported(path)
    assert last(BTC) == ([[100.0, 1.0], [99.0, 2.0], [98.0, 3.0]], [[101.0, 1.0], [102.0, 2.0]])


@pytest.mark.parametrize("at", [0, 20])
def test_tardis_where_every_message_is_a_snapshot_each_replaces_the_book(home: Path, at: int) -> None:
    path = write(
        home / "a.csv", BOOK,
        l2(0, 10, True, "bid", 100, 1), l2(0, 10, True, "bid", 99, 1), l2(0, 10, True, "ask", 101, 1),
        l2(at, 25, True, "bid", 99.5, 2), l2(at, 25, True, "bid", 99, 2), l2(at, 25, True, "ask", 101, 2),
    )  # fmt: skip
    imported(path)
    assert last(BTC) == ([[99.5, 2.0], [99.0, 2.0]], [[101.0, 2.0]])


def test_tardis_a_file_of_many_symbols_is_many_instruments(home: Path) -> None:
    book = home / "binance-futures_incremental_book_L2_2024-07-19_PERPETUALS.csv"
    write(
        book, BOOK,
        l2(0, 10, True, "bid", 100, 1), l2(0, 10, True, "ask", 101, 1),
        l2(0, 20, True, "bid", 50, 1, "ETHUSDT"), l2(0, 20, True, "ask", 51, 1, "ETHUSDT"),
        l2(0, 30, False, "bid", 100, 7), l2(0, 30, False, "ask", 51, 8, "ETHUSDT"),
    )  # fmt: skip
    prints = home / "binance-futures_trades_2024-07-19_PERPETUALS.csv"
    row = f"binance-futures,ETHUSDT,{T0_US},{T0_US + 25},7,sell,50,2"
    write(prints, f"{TARDIS},id,side,price,amount", row, row)
    assert imported(book, prints) == {"duplicate_trade": 1}
    assert last(BTC) == ([[100.0, 7.0]], [[101.0, 1.0]])
    assert last(ETH) == ([[50.0, 1.0]], [[51.0, 8.0]])
    assert (trades(BTC), trades(ETH)) == ([], [(50.0, 2000, "sell")])


def test_tardis_delivery_contracts(home: Path) -> None:
    rows = [l2(0, 10, True, side, price, 3, "BTCUSDT_240927") for side, price in (("bid", 100), ("ask", 101))]
    imported(write(home / "a.csv", BOOK, *rows))
    assert last("BTCUSDT_240927.BINANCE")[0] == [[100.0, 3.0]]
    coin = [row.replace("futures", "delivery").replace("BTCUSDT_240927", "BTCUSD_PERP") for row in rows]
    imported(write(home / "b.csv", BOOK, *coin))
    assert last("BTCUSD_PERP.BINANCE")[0] == [[100.0, 3.0]]


def test_tardis_off_tick_prices_and_a_clock_that_is_set_back(home: Path) -> None:
    path = write(
        home / "a.csv", BOOK,
        l2(0, 2_000_000, True, "bid", 100, 1), l2(0, 2_000_000, True, "bid", 99.95, 1), l2(0, 2_000_000, True, "ask", 101, 1),
        l2(1, 1_000_000, False, "bid", 100, 0), l2(2, 1_000_001, False, "bid", 99, 4),
    )  # fmt: skip
    assert imported(path) == {"off_tick": 1, "clock_back": 2}
    assert last(BTC) == ([[99.0, 4.0]], [[101.0, 1.0]])


def test_an_empty_file_is_skipped_and_said(home: Path) -> None:
    rows = [l2(0, 10, True, "bid", 100, 1), l2(0, 10, True, "ask", 101, 1)]
    empty, headed = write(home / "empty.csv", ""), write(home / "headed.csv", BOOK)
    result = cmm("import", empty, headed, write(home / "a.csv", BOOK, *rows))
    assert result.exit_code == 0
    assert result.stderr.count("skipped, it holds no rows") == 2
    assert len(books(BTC)) == 1
    refused(cmm("import", empty, headed), "empty")


# ── Coinbase ──────────────────────────────────────────────────────────────────────────────────

MATCH = "maker_order_id,price,product_id,side,size,time,trade_id,type"


def coinbase(folder: Path, updates: list[str], matches: list[str]) -> Path:
    write(folder / "a_snapshot_bids.csv", "side,price,size", "buy,100.00,1")
    write(folder / "a_snapshot_asks.csv", "side,price,size", "sell,100.01,2")
    write(folder / "a_match.csv", MATCH, *matches)
    return write(folder / "a_l2update.csv", "side,price,size,time", *updates)


def at(second: float) -> str:
    return (dt.datetime(2018, 4, 17, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=second)).isoformat()


def test_coinbase_changes_and_trades_out_of_order_or_told_twice(home: Path) -> None:
    match = f"x,100.00,BTC-USD,buy,0.5,{at(1)},7,match"
    early = f"x,99.00,BTC-USD,buy,0.5,{at(0)},6,last_match"
    path = coinbase(home, [f"buy,99.99,3,{at(2)}", f"buy,100.00,0,{at(1.5)}"], [early, match, match])
    assert imported(path) == {"clock_back": 1, "control_message": 1, "duplicate_trade": 1}
    assert last("BTC-USD.COINBASE") == ([[99.99, 3.0]], [[100.01, 2.0]])
    assert trades("BTC-USD.COINBASE") == [(100.0, 50_000_000, "sell")]


def test_coinbase_two_products_are_refused(home: Path) -> None:
    matches = [f"x,100.00,{product},buy,0.5,{at(1)},{n},match" for n, product in enumerate(("BTC-USD", "ETH-USD"))]
    refused(cmm("import", coinbase(home, [f"buy,99.99,3,{at(2)}"], matches)), "ETH-USD", "split the recording")


# ── Bitstamp, ob-analytics ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "header",
    ["id,timestamp,exchange.timestamp", "id,timestamp,exchange_timestamp", '"id","timestamp","exchange.timestamp"'],
)
@pytest.mark.parametrize("volumes", [("2e+08", "100000000"), ("200000000", "1e+08"), ("2", "1.0"), ("2.0", "1")])
@pytest.mark.parametrize("time", ["1430438404518", "1430438404518000", "2015-05-01 00:00:04.518"])
def test_orders_as_ob_analytics_writes_them(home: Path, header: str, volumes: tuple[str, str], time: str) -> None:
    path = write(
        home / "a.csv",
        f"{header},price,volume,action,direction",
        f"1,{time},{time},236.47,{volumes[0]},created,bid",
        f"1,{time},{time},236.47,{volumes[1]},changed,bid",
    )
    imported(path)
    assert books("BTCUSD.BITSTAMP")[0] == (1_430_438_404_518_000_000, [[236.47, 2.0]], [])
    assert last("BTCUSD.BITSTAMP")[0] == [[236.47, 1.0]]
    assert trades("BTCUSD.BITSTAMP") == [(236.47, 100_000_000, "sell")]


def test_a_time_in_january_1970_is_no_time(home: Path) -> None:
    rows = ["id,timestamp,exchange.timestamp,price,volume,action,direction", "1,1430438,1430438,236.47,2,created,bid"]
    refused(cmm("import", write(home / "a.csv", *rows)), "timestamp", "1430438")


# ── LOBSTER, SGX ──────────────────────────────────────────────────────────────────────────────


def lobster(folder: Path, day: str, price: int) -> list[Path]:
    name = f"AAPL_{day}_34200000_57600000_{{}}_1.csv"
    message = write(folder / name.format("message"), f"34200.5,1,1,18,{price},1", "34201.5,1,2,18,5853300,1")
    return [message, write(folder / name.format("orderbook"), f"5859400,200,{price},18", "5859400,200,5853300,18")]


def test_lobster_prices_off_the_tick_are_counted(home: Path) -> None:
    assert imported(*lobster(home, "2012-06-21", 5_853_350)) == {"off_tick": 1}
    assert [b for _, b, _ in books("AAPL.NASDAQ")] == [[[585.33, 18.0]]]


@pytest.mark.parametrize(("day", "hour"), [("2024-03-08", 14), ("2024-03-11", 13)])
def test_lobster_times_are_new_yorks_clock(home: Path, day: str, hour: int) -> None:
    imported(*lobster(home, day, 5_853_300))
    start = dt.datetime.combine(dt.date.fromisoformat(day), dt.time(hour, 30), dt.UTC)
    assert books("AAPL.NASDAQ")[0][0] == int(start.timestamp()) * 10**9 + 5 * 10**8


def test_sgx_rows_of_nan_are_no_levels(home: Path) -> None:
    path = write(
        home / "a.csv",
        "Bid,Bid_Quantity,Ask,Ask_Quantity",
        *("TimeStamp,2014-01-09D09:45:00.0", "nan,nan,nan,nan", "NaN,NaN,NaN,NaN"),
        *("TimeStamp,2014-01-09D09:45:01.0", "680000.0,10.0,680500.0,19.0", "679500.0,5.0,nan,nan"),
    )
    assert imported(path) == {"no_quote": 1}
    assert last("CN.SGX") == ([[6800.0, 10.0], [6795.0, 5.0]], [[6805.0, 19.0]])


TERMS = [
    ("SGX", "{exchange: SGX, product: CN, kind: future, currency: USD, tick: 2.5, sessions: sgx_a50, until: 2015-01-01}"),
    ("BITSTAMP", "{exchange: BITSTAMP, product: BTCUSD, kind: spot, currency: USD, base: BTC, tick: 0.02, lot: 0.00000001, until: 2019-01-01}"),
    ("COINBASE", "{exchange: COINBASE, product: BTC-USD, kind: spot, currency: USD, base: BTC, tick: 0.005, lot: 0.00000001, until: 2019-01-01}"),
    ("GLBX", "{exchange: GLBX, product: ES, kind: future, currency: USD, tick: 0.5, multiplier: 50, until: 2024-06-01}"),
]  # fmt: skip


@pytest.mark.parametrize(("exchange", "row"), TERMS, ids=[exchange for exchange, _ in TERMS])
def test_terms_are_looked_up_once_by_the_recordings_day(home: Path, exchange: str, row: str) -> None:
    """Looked up for today by the loader and for the day by the importer, prices came out doubled."""
    table = write(home / "mine.yaml", "contracts:", f"- {row}")
    here = ("--set", f"data.contracts=[{table}]")
    if exchange == "SGX":
        rows = ["Bid,Bid_Quantity,Ask,Ask_Quantity", "TimeStamp,2014-01-09D09:45:01.0", "680000.0,10.0,680500.0,19.0"]
        path, name, bid = write(home / "a.csv", *rows), "CN.SGX", 6800.0
    elif exchange == "BITSTAMP":
        rows = [
            "id,timestamp,exchange.timestamp,price,volume,action,direction",
            "1,1430438404518,1430438404518,236.46,2,created,bid",
        ]
        path, name, bid = write(home / "a.csv", *rows), "BTCUSD.BITSTAMP", 236.46
    elif exchange == "COINBASE":
        path = coinbase(home, [f"buy,100.00,3,{at(2)}"], [f"x,100.00,BTC-USD,buy,0.5,{at(1)},7,match"])
        path, name, bid = (
            write(home / "a_l2update.csv", "side,price,size,time", f"sell,100.01,0,{at(2)}"),
            "BTC-USD.COINBASE",
            100.0,
        )
    else:
        path, name, bid = databento(home / "a.dbn", [("A", "B", 4, 5000.0, 1, 3, 128)]), "ES2406.GLBX", 5000.0
    result = cmm("import", path, *here)
    assert result.exit_code == 0, result.output
    result = cmm("events", name, "--json", "--last", "1", *here)
    assert f'"bids":[[{bid},' in result.stdout


# ── Databento ─────────────────────────────────────────────────────────────────────────────────

NS0 = 1_715_126_400_000_000_000
LAST = 128


def databento(path: Path, records: list[tuple[str, str, int, float, int, int, int]]) -> Path:
    """A market-by-order file of (action, side, ms, price, order, size, flags)."""
    interval = SimpleNamespace(start_date=dt.date(2024, 5, 8), end_date=dt.date(2024, 5, 9), symbol="17")
    mapping = SimpleNamespace(raw_symbol="ESM4", intervals=[interval])
    meta = dbn.Metadata(
        "GLBX.MDP3",
        NS0,
        dbn.SType.RAW_SYMBOL,
        dbn.SType.INSTRUMENT_ID,
        dbn.Schema.MBO,
        symbols=["ESM4"],
        mappings=[mapping],
    )
    body = b"".join(
        bytes(
            dbn.MBOMsg(1, 17, NS0 + ms * 10**6, order, round(price * 1e9), size, dbn.Action.from_str(action), dbn.Side.from_str(side),
                       NS0 + ms * 10**6, flags=flags)
        )
        for action, side, ms, price, order, size, flags in records
    )  # fmt: skip
    path.write_bytes(meta.encode() + body)
    return path


OPEN = [("A", "B", 0, 5000.0, 1, 3, LAST), ("A", "A", 0, 5001.0, 2, 4, LAST)]
MARKS = {
    "trade": ("T", "B", 10, 5001.0, 0, 1, LAST),
    "none": ("N", "N", 10, 5001.0, 0, 1, LAST),
    "fill": ("F", "A", 10, 5001.0, 2, 1, LAST),
    "unknown order": ("C", "A", 10, 5001.0, 99, 1, LAST),
    "no mark at all": None,
}


@pytest.mark.parametrize("mark", MARKS)
def test_databento_an_event_ends_with_the_record_that_bears_the_mark(home: Path, mark: str) -> None:
    end = [MARKS[mark]] if MARKS[mark] is not None else []
    records = [*OPEN, ("A", "B", 10, 4999.5, 3, 7, 0), *end, ("A", "B", 900, 4999.0, 4, 8, LAST)]
    imported(databento(home / "a.dbn", records))  # type: ignore[arg-type]
    told = [(round((ts - NS0) / 1e6), bids) for ts, bids, _ in books("ES2406.GLBX")]
    assert told[-2] == (10, [[5000.0, 3.0], [4999.5, 7.0]])
    assert told[-1][0] == 900


def test_databento_a_book_that_is_cleared_is_empty_at_once(home: Path) -> None:
    records = [*OPEN, ("R", "N", 10, 0.0, 0, 0, 0), ("A", "B", 900, 4999.0, 4, 8, LAST)]
    imported(databento(home / "a.dbn", records))
    told = [(round((e["ts"] - NS0) / 1e6), e["bids"], e["asks"]) for e in events("ES2406.GLBX")]
    assert told[-2:] == [(10, [], []), (900, [[4999.0, 8.0]], [])]


def test_databento_negative_prices_are_refused(home: Path) -> None:
    refused(cmm("import", databento(home / "a.dbn", [("A", "B", 0, -37.5, 1, 3, LAST)])), "zero or below")
