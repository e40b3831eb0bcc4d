"""Nautilus' own catalogs, of versions 2 (written by it) and 1 (written as it writes them)."""

from __future__ import annotations

import contextlib
import datetime as dt
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nautilus_trader.model import (
    AggressorSide,
    BookAction,
    BookOrder,
    InstrumentId,
    OrderBookDelta,
    OrderBookDepth,
    OrderSide,
    Price,
    Quantity,
    QuoteTick,
    TradeId,
    TradeTick,
)
from nautilus_trader.persistence import ParquetDataCatalog

from market.contracts import ContractTable
from market.errors import DataError
from market.nautilus import nautilus_instrument
from tests.dirty import MS, T0, books, cmm, imported, last, refused, trades
from venues.recordings.loaders import LOADERS, Recording
from venues.recordings.loaders.findings import Findings
from venues.recordings.terms import RecordingTerms

BTC = "BTCUSDT-PERP.BINANCE"
ID = InstrumentId.from_str(BTC)
LAST, SNAPSHOT = 128, 32
BUY, SELL = OrderSide.BUY, OrderSide.SELL
ADD, UPDATE, DELETE = BookAction.ADD, BookAction.UPDATE, BookAction.DELETE


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def catalog(name: str = "theirs") -> ParquetDataCatalog:
    Path(name).mkdir()
    return ParquetDataCatalog(str(Path(name).absolute()))


def price(value: float) -> Price:
    return Price(value, 1)


def size(value: float) -> Quantity:
    return Quantity(value, 3)


def delta(
    ms: float, action: BookAction, side: OrderSide, at: float, lots: float, flags: int = LAST, order: int = 0
) -> OrderBookDelta:
    ts = T0 + int(ms * MS)
    return OrderBookDelta(ID, action, BookOrder(side, price(at), size(lots), order), flags, 0, ts, ts + MS)


def clear(ms: float) -> OrderBookDelta:
    return OrderBookDelta.clear(ID, 0, T0 + int(ms * MS), T0 + int(ms * MS) + MS)


def trade(ms: float, at: float, lots: float, key: str, side: AggressorSide = AggressorSide.BUY) -> TradeTick:
    return TradeTick(ID, price(at), size(lots), side, TradeId(key), T0 + int(ms * MS), T0 + int(ms * MS) + MS)


def test_levels_with_their_trades() -> None:
    theirs = catalog()
    theirs.write_instruments([nautilus_instrument(ContractTable().by_id(BTC), dt.date(2024, 7, 19))])
    theirs.write_order_book_deltas([
        clear(0),
        delta(0, ADD, BUY, 64000.0, 1.0, SNAPSHOT),
        delta(0, ADD, SELL, 64000.1, 2.0, SNAPSHOT | LAST),
        delta(2, UPDATE, BUY, 64000.0, 0.5, 0),
        delta(2, ADD, BUY, 63999.9, 3.0),
        delta(3, DELETE, SELL, 64000.1, 0.0, 0),  # the flag that ends it is missing
        delta(4, ADD, SELL, 64000.2, 1.0),
        clear(5),
        delta(5, ADD, BUY, 63990.0, 1.0, SNAPSHOT | LAST),
    ])  # fmt: skip
    theirs.write_trade_ticks([
        trade(2, 64000.0, 0.5, "1", AggressorSide.SELL),
        trade(2, 64000.0, 0.5, "1", AggressorSide.SELL),
        trade(3, 64000.1, 2.0, "2"),
        trade(3, 64000.1, 0.1, "3", AggressorSide.NO_AGGRESSOR),
    ])  # fmt: skip
    assert imported(Path("theirs")) == {"duplicate_trade": 1}
    assert [book[1:] for book in books(BTC)] == [
        ([[64000.0, 1.0]], [[64000.1, 2.0]]),
        ([[64000.0, 0.5], [63999.9, 3.0]], [[64000.1, 2.0]]),
        ([[64000.0, 0.5], [63999.9, 3.0]], []),
        ([[64000.0, 0.5], [63999.9, 3.0]], [[64000.2, 1.0]]),
        ([[63990.0, 1.0]], []),
    ]
    assert trades(BTC) == [(64000.0, 500, "sell"), (64000.1, 2000, "buy"), (64000.1, 100, "none")]


def test_orders_are_told_by_their_ids() -> None:
    catalog().write_order_book_deltas([
        clear(0),
        delta(0, ADD, BUY, 64000.0, 1.0, SNAPSHOT, 7),
        delta(0, ADD, BUY, 64000.0, 2.0, SNAPSHOT | LAST, 8),
        delta(1, ADD, SELL, 64001.0, 4.0, LAST, 9),
        delta(2, UPDATE, BUY, 64000.0, 0.5, LAST, 7),
        delta(3, UPDATE, SELL, 64000.5, 4.0, LAST, 9),
        delta(4, DELETE, BUY, 64000.0, 0.0, LAST, 8),
        delta(5, DELETE, BUY, 64000.0, 0.0, LAST, 88),
    ])  # fmt: skip
    assert imported(Path("theirs")) == {"unknown_order": 1}
    assert [book[1:] for book in books(BTC)] == [
        ([[64000.0, 3.0]], []),
        ([[64000.0, 3.0]], [[64001.0, 4.0]]),
        ([[64000.0, 2.5]], [[64001.0, 4.0]]),
        ([[64000.0, 2.5]], [[64000.5, 4.0]]),
        ([[64000.0, 0.5]], [[64000.5, 4.0]]),
    ]


def test_depth_wins_over_quotes_and_quotes_alone_are_a_recording() -> None:
    theirs = catalog()
    bids = [BookOrder(BUY, price(64000 - i), size(1), 0) for i in range(10)]
    asks = [BookOrder(SELL, price(64001 + i), size(2), 0) for i in range(10)]
    theirs.write_order_book_depths([OrderBookDepth(ID, bids, asks, [1] * 10, [1] * 10, LAST, 0, T0, T0 + MS)])
    quotes = [(64000.0, 64000.1, 1.0), (63999.9, 64000.2, 0.0)]
    theirs.write_quote_ticks([
        QuoteTick(ID, price(bid), price(ask), size(lots), size(1.0), T0 + i * MS, T0 + i * MS + 5)
        for i, (bid, ask, lots) in enumerate(quotes)
    ])  # fmt: skip
    result = cmm("import", "theirs")
    assert result.exit_code == 0 and "quotes are left out: its depths tell more" in result.output
    assert last(BTC) == ([[64000.0 - i, 1.0] for i in range(5)], [[64001.0 + i, 2.0] for i in range(5)])
    (file,) = Path("theirs").rglob("quotes/**/*.parquet")
    assert cmm("import", file, "--set", "data.path=quotes").exit_code == 0
    result = cmm("inspect", BTC, "--json", "--set", "data.path=quotes")
    assert result.exit_code == 0
    (day,) = Path("quotes").glob("manifest/*/*.json")
    assert '"depth": 1' in day.read_text()


def test_other_terms_than_the_tables_are_refused() -> None:
    table = ContractTable()
    theirs = catalog()
    theirs.write_instruments([nautilus_instrument(table.by_id(BTC, dt.date(2021, 1, 1)), dt.date(2021, 1, 1))])
    theirs.write_order_book_deltas([clear(0), delta(0, ADD, BUY, 64000.0, 1.0)])
    refused(cmm("import", "theirs"), "tick 0.01", "but 0.1", "data.contracts")
    assert not list(Path().glob("data/manifest/*/*"))


def test_what_is_no_catalog_of_theirs_is_refused() -> None:
    Path("folder").mkdir()
    refused(cmm("import", "folder"), "no catalog of Nautilus")
    theirs = catalog()
    theirs.write_instruments([nautilus_instrument(ContractTable().by_id(BTC), dt.date(2024, 7, 19))])
    refused(cmm("import", "theirs"), "defines an instrument")
    pq.write_table(pa.table({"a": [1]}), "other.parquet")
    refused(cmm("import", "other.parquet"), "no known recording format")
    theirs.write_order_book_deltas([clear(0), delta(0, ADD, BUY, 64000.0, 1.0)])
    assert cmm("import", "theirs").exit_code == 0
    refused(cmm("import", "data"), "--set data.path=data")


def test_our_own_days_read_as_nautilus_files_are_the_same() -> None:
    orders = [(1, BUY, 64000.0, 7), (2, BUY, 64000.0, 8), (3, SELL, 64000.5, 9)]
    catalog().write_order_book_deltas(
        [clear(0), *(delta(ms, ADD, side, at, 1.0, LAST, order) for ms, side, at, order in orders)]
    )
    imported(Path("theirs"))
    files = list(Path("data/data").rglob("*.parquet"))
    before = books(BTC)
    assert cmm("import", *files, "--set", "data.path=again").exit_code == 0
    again = cmm("events", BTC, "--last", "1", "--set", "data.path=again").stdout
    assert again == cmm("events", BTC, "--last", "1").stdout
    assert before[-1][1:] == ([[64000.0, 2.0]], [[64000.5, 1.0]])


def fixed(value: float, wide: bool) -> bytes:
    """A price or size as version 1 writes it."""
    if not wide:
        return struct.pack("<q", round(value * 1e9))
    return (round(value * 1_000) * 10**13).to_bytes(16, "little", signed=True)


def old(kind: str, columns: dict[str, Sequence[Any]], wide: bool) -> Path:
    """A file of version 1."""
    amounts = pa.binary(16 if wide else 8)
    arrays = {}
    for name, values in columns.items():
        if "price" in name or "size" in name:
            arrays[name] = pa.array([fixed(value, wide) for value in values], amounts)
        elif name == "trade_id":
            arrays[name] = pa.array(values)
        else:
            arrays[name] = pa.array(
                values, pa.uint8() if name in ("action", "side", "flags", "aggressor_side") else pa.uint64()
            )
    path = Path(f"old/data/{kind}/{BTC}/part-0.parquet")
    path.parent.mkdir(parents=True)
    table = pa.table(arrays).replace_schema_metadata(
        {"instrument_id": BTC, "price_precision": "1", "size_precision": "3"}
    )
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("wide", [True, False])
def test_the_first_version_is_read(wide: bool) -> None:
    times = {"ts_event": [T0, T0, T0 + MS], "ts_init": [T0, T0, T0 + MS]}
    book = {"action": [4, 1, 1], "side": [0, 1, 2], "price": [0, 64000.0, 64000.1], "size": [0, 1.5, 2.0]}
    old("order_book_delta", book | {"order_id": [0, 0, 0], "flags": [0, 128, 128], "sequence": [0, 0, 0]} | times, wide)
    trade = {"price": [64000.1], "size": [0.25], "aggressor_side": [1], "trade_id": ["5"]}
    old("trade_tick", trade | {"ts_event": [T0], "ts_init": [T0 + 2 * MS]}, wide)
    assert imported(Path("old")) == {}
    assert last(BTC) == ([[64000.0, 1.5]], [[64000.1, 2.0]])
    assert trades(BTC) == [(64000.1, 250, "buy")]


def test_the_first_versions_depth_has_ten_columns_a_side() -> None:
    columns: dict[str, Sequence[Any]] = {}
    for i in range(10):
        columns |= {
            f"bid_price_{i}": [64000 - i],
            f"ask_price_{i}": [64001 + i],
            f"bid_size_{i}": [1],
            f"ask_size_{i}": [2],
        }
    old("order_book_depth10", columns | {"ts_event": [T0], "ts_init": [T0]}, True)
    imported(Path("old"))
    assert last(BTC) == ([[64000.0 - i, 1.0] for i in range(5)], [[64001.0 + i, 2.0] for i in range(5)])


@settings(max_examples=40)
@given(place=st.integers(0, 5_000), byte=st.integers(0, 255), cut=st.integers(0, 9))
def test_a_damaged_file_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("nautilus") / "part-0.parquet"
    times = pa.array([T0, T0 + MS], pa.uint64())
    amounts = {
        name: pa.array([fixed(64000.0, True)] * 2, pa.binary(16))
        for name in ("bid_price", "bid_size", "ask_price", "ask_size")
    }
    table = pa.table(amounts | {"ts_event": times, "ts_init": times}).replace_schema_metadata({"instrument_id": BTC})
    pq.write_table(table, path)
    data = bytearray(path.read_bytes())
    data[place % len(data)] = byte
    path.write_bytes(bytes(data[: len(data) - cut]))
    with contextlib.suppress(DataError):
        list(LOADERS["nautilus"].events(Recording("nautilus", (path,)), RecordingTerms(ContractTable()), Findings()))
