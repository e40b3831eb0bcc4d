"""hftbacktest's files, in and out."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.contracts import ContractTable
from market.errors import DataError
from tests.dirty import MS, T0, books, cmm, events, imported, last, refused, trades
from venues.recordings.hftbacktest_export import _blocks, _in_order, _stand_once
from venues.recordings.loaders import LOADERS, Recording
from venues.recordings.loaders.findings import Findings
from venues.recordings.terms import RecordingTerms

BTC = "BTCUSDT-PERP.BINANCE"
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
DEPTH, TRADE, CLEAR, SNAPSHOT, BBO, ADD, CANCEL, MODIFY, FILL = 1, 2, 3, 4, 5, 10, 11, 12, 13
BOTH = EXCH | LOCAL
RECORD = np.dtype(
    [("ev", "u8"), ("exch_ts", "i8"), ("local_ts", "i8"), ("px", "f8"), ("qty", "f8"), ("order_id", "u8"),
     ("ival", "i8"), ("fval", "f8")], align=True,
)  # fmt: skip
type Row = tuple[int, float, float, float, float, int]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row(kind: int, ms: float, price: float, size: float, order: int = 0, lag: float = 1, side: int = BOTH) -> Row:
    """An event at the exchange at `ms`, here `lag` later."""
    return (kind | side, T0 + int(ms * MS), T0 + int((ms + lag) * MS), price, size, order)


def write(name: str, *rows: Row, unit: int = 1) -> Path:
    array = np.array([(ev, e // unit, loc // unit, px, qty, oid, 0, 0.0) for ev, e, loc, px, qty, oid in rows], RECORD)
    np.savez_compressed(name, data=array)
    return Path(name)


BOOK = (
    row(CLEAR, 0, 0, 0),
    row(SNAPSHOT | BUY, 0, 64000.0, 1.0),
    row(SNAPSHOT | BUY, 0, 63999.9, 2.0),
    row(SNAPSHOT | SELL, 0, 64000.1, 1.5),
)


def test_levels_and_trades_at_their_arrival() -> None:
    path = write(
        f"{BTC}.npz",
        *BOOK,
        row(TRADE | SELL, 5, 64000.0, 0.4),
        row(DEPTH | BUY, 5, 64000.0, 0.6, lag=2),
        row(DEPTH | SELL, 5, 64000.2, 0.7, lag=2),
        row(BBO | BUY, 6, 64000.0, 0.6),
        row(TRADE, 7, 64000.1, 0.1),
    )
    assert imported(path) == {"best_quote_event": 1}
    assert trades(BTC) == [(64000.0, 400, "sell"), (64000.1, 100, "none")]
    assert books(BTC) == [
        (T0 + MS, [[64000.0, 1.0], [63999.9, 2.0]], [[64000.1, 1.5]]),
        (T0 + 7 * MS, [[64000.0, 0.6], [63999.9, 2.0]], [[64000.1, 1.5], [64000.2, 0.7]]),
    ]


def test_a_side_is_cleared_up_to_a_price_and_a_row_of_the_exchange_alone_has_not_arrived() -> None:
    path = write(
        f"{BTC}.npz",
        *BOOK,
        row(CLEAR | BUY, 1, 64000.0, 0),
        row(SNAPSHOT | BUY, 1, 63999.8, 3.0),
        row(DEPTH | BUY, 2, 64000.0, 9.0, side=EXCH),
        row(CLEAR | SELL, 3, float("nan"), 0),
        row(SNAPSHOT | SELL, 3, 64001.0, 4.0),
    )
    assert imported(path) == {"exchange_event": 1}
    assert last(BTC) == ([[63999.9, 2.0], [63999.8, 3.0]], [[64001.0, 4.0]])


def test_orders_are_followed_by_their_ids() -> None:
    path = write(
        f"{BTC}_20240719.npz",
        row(CLEAR, 0, 0, 0),
        row(ADD | BUY, 1, 64000.0, 1.0, 7),
        row(ADD | BUY, 2, 64000.0, 2.0, 8),
        row(ADD | SELL, 3, 64000.5, 3.0, 9),
        row(ADD | SELL, 3, 64000.5, 3.0, 9),
        row(TRADE | SELL, 4, 64000.0, 0.5),
        row(FILL | BUY, 4, 64000.0, 0.5, 7),
        row(MODIFY | BUY, 4, 64000.0, 0.5, 7),
        row(MODIFY | SELL, 5, 64000.4, 1.0, 9),
        row(CANCEL | BUY, 6, 0.0, 0.0, 8),
        row(CANCEL | BUY, 6, 0.0, 0.0, 55),
    )
    assert imported(path) == {"duplicate_order": 1, "unknown_order": 1}
    assert [book[1:] for book in books(BTC)[-3:]] == [
        ([[64000.0, 2.5]], [[64000.5, 3.0]]),
        ([[64000.0, 2.5]], [[64000.4, 1.0]]),
        ([[64000.0, 0.5]], [[64000.4, 1.0]]),
    ]
    assert trades(BTC) == [(64000.0, 500, "sell")]


def test_a_book_without_times_comes_before_the_next_file() -> None:
    eod = [(ev, 0, 0, px, qty, oid) for ev, _, _, px, qty, oid in BOOK[1:]]
    day = write("btcusdt_20240719.npz", row(TRADE | BUY, 1, 64000.1, 0.5), row(DEPTH | SELL, 2, 64000.1, 1.0))
    other = write("btcusdt_20240718_eod.npz", *eod)
    assert cmm("import", day, other, "--instrument", BTC).exit_code == 0
    assert [book[1:] for book in books(BTC)] == [
        ([[64000.0, 1.0], [63999.9, 2.0]], [[64000.1, 1.5]]),
        ([[64000.0, 1.0], [63999.9, 2.0]], [[64000.1, 1.0]]),
    ]


def test_the_first_version_has_columns() -> None:
    rows = [
        (3, T0 // 1000, T0 // 1000 + 10, 0, 0, 0),
        (4, T0 // 1000, T0 // 1000 + 10, 1, 64000.0, 1.0),
        (4, T0 // 1000, T0 // 1000 + 10, -1, 64000.1, 2.0),
        (1, T0 // 1000 + 50, -1, 1, 64000.0, 5.0),
        (2, -1, T0 // 1000 + 60, -1, 64000.0, 0.3),
    ]
    np.savez("old.npz", data=np.array(rows, float))
    assert cmm("import", "old.npz", "--instrument", BTC).exit_code == 0
    assert books(BTC) == [(T0 + 10_000, [[64000.0, 1.0]], [[64000.1, 2.0]])]
    assert trades(BTC) == [(64000.0, 300, "sell")]


def test_microseconds_are_told_by_their_size_and_a_missing_book_is_said() -> None:
    result = cmm("import", write(f"{BTC}.npz", row(DEPTH | BUY, 0, 64000.0, 1.0), unit=1000))
    assert result.exit_code == 0 and "no event shows the whole book" in result.output
    assert books(BTC)[0][0] == T0 + MS


def test_what_it_cannot_know_is_refused() -> None:
    path = write("btcusdt_20240719.npz", *BOOK)
    refused(cmm("import", path), "does not say its instrument", "--instrument")
    refused(cmm("import", path, "--instrument", "BTCUSDT"), "exchange is missing")
    refused(cmm("import", path, "--instrument", "DOGEUSDT.NOWHERE"), "no contract terms for DOGEUSDT on NOWHERE")
    refused(cmm("import", path, "--instruments", f"{BTC},ETHUSDT-PERP.BINANCE"), "is of one instrument")
    refused(cmm("import", write(f"{BTC}.npz", *BOOK), "--instrument", "ETHUSDT-PERP.BINANCE"), f"is of {BTC}")
    refused(
        cmm("import", write(f"{BTC}.npz", row(DEPTH | BUY, 0, 1, 1, side=0))),
        "no event is marked",
        "correct_event_order",
    )
    refused(cmm("import", write(f"{BTC}.npz", row(CLEAR, 0, 0, 0), row(DEPTH | BUY, 1, 64000, -1))), "is no size")
    np.savez(f"{BTC}.npz", other=np.zeros(3))
    refused(cmm("import", f"{BTC}.npz"), "no array `data`")
    np.savez(f"{BTC}.npz", data=np.zeros(3))
    refused(cmm("import", f"{BTC}.npz"), "not of hftbacktest's events")


def test_trades_alone_are_kept_and_come_back() -> None:
    imported(write(f"{BTC}.npz", row(TRADE | BUY, 0, 64000.0, 1.0), row(TRADE | SELL, 1, 64000.1, 2.0)))
    exported("one.npz")
    assert cmm("import", "one.npz", "--set", "data.path=again").exit_code == 0
    assert digest("again") == digest("data")
    assert trades(BTC) == [(64000.0, 1000, "buy"), (64000.1, 2000, "sell")]


def test_an_empty_array_is_skipped() -> None:
    empty, full = write(f"{BTC}.2024-07-18.npz"), write(f"{BTC}.2024-07-19.npz", *BOOK)
    result = cmm("import", empty, full)
    assert result.exit_code == 0 and "skipped" in result.stderr


def exported(name: str, *options: object) -> np.ndarray[Any, Any]:
    result = cmm("export", BTC, "--format", "hftbacktest", "--out", name, *options)
    assert result.exit_code == 0, result.output
    with np.load(name) as archive:
        found: np.ndarray[Any, Any] = archive["data"]
    return found


def is_valid(data: np.ndarray[Any, Any]) -> None:
    """hftbacktest 2.4's validate_event_order, and that nothing arrives before it happens."""
    for flag, time in ((EXCH, "exch_ts"), (LOCAL, "local_ts")):
        assert (np.diff(data[time][(data["ev"] & flag) != 0]) >= 0).all()
    assert (data["exch_ts"] <= data["local_ts"]).all()
    assert data.dtype.itemsize == 64 and ((data["ev"] & BOTH) != 0).all()


def digest(folder: str) -> list[str]:
    return [json.loads(path.read_text())["sha256"] for path in sorted(Path(folder).glob("manifest/*/*.json"))]


LEVELS = (
    *BOOK,
    row(DEPTH | BUY, 5, 64000.0, 0.6, lag=3),
    row(TRADE | SELL, 4, 64000.0, 0.4, lag=5),  # happened earlier, arrived later
    row(DEPTH | SELL, 30, 64000.1, 0.0, lag=-11),  # the exchange's clock ran ahead
    row(DEPTH | SELL, 30, 64000.3, 0.2, lag=-11),
)
ORDERS = (
    row(CLEAR, 0, 0, 0),
    row(ADD | BUY, 1, 64000.0, 1.0, 7),
    row(ADD | BUY, 2, 64000.0, 2.0, 8),
    row(ADD | SELL, 1, 64000.5, 3.0, 9, lag=3),  # an exchange's time that runs backwards
    row(TRADE | SELL, 4, 64000.0, 1.2, lag=2),
    row(CANCEL | BUY, 4, 64000.0, 1.0, 7, lag=2.5),
    row(MODIFY | BUY, 4, 64000.0, 1.8, 8, lag=2.5),
    row(MODIFY | SELL, 6, 64000.4, 1.0, 9),
)


@pytest.mark.parametrize("rows", [LEVELS, ORDERS], ids=["levels", "orders"])
def test_what_is_exported_and_imported_again_is_the_same(rows: tuple[Row, ...]) -> None:
    imported(write(f"{BTC}.npz", *rows))
    is_valid(exported("one.npz"))
    first = (Path("one.npz").read_bytes(), events(BTC), digest("data"))
    assert cmm("import", "one.npz", "--set", "data.path=again").exit_code == 0
    assert digest("again") == first[2]
    assert events(BTC, "--set", "data.path=again") == first[1]
    exported("two.npz", "--set", "data.path=again")
    assert Path("two.npz").read_bytes() == first[0]


def test_orders_are_exported_with_their_fills() -> None:
    imported(write(f"{BTC}.npz", *ORDERS))
    data = exported("one.npz")
    told = [
        (int(ev & 0xFF), int(oid), float(qty))
        for ev, oid, qty in zip(data["ev"], data["order_id"], data["qty"], strict=True)
    ]
    assert told == [
        (CLEAR, 0, 0.0), (ADD, 7, 1.0), (ADD, 8, 2.0), (ADD, 9, 3.0), (TRADE, 0, 1.2), (FILL, 7, 1.0), (CANCEL, 7, 1.0),
        (FILL, 8, 0.2), (MODIFY, 8, 1.8), (CANCEL, 9, 3.0), (ADD, 9, 1.0),
    ]  # fmt: skip


def test_an_export_says_what_it_cannot_do() -> None:
    imported(write(f"{BTC}.npz", *BOOK, row(DEPTH | BUY, 86_400_000, 64000.0, 2.0)))
    refused(cmm("export", BTC, "--out", "one.npz"), "2 days", "--dates")
    refused(cmm("export", BTC, "--format", "csv"), "unknown", "hftbacktest")
    refused(cmm("export", BTC, "--out", "nowhere/one.npz", "--dates", "2024-07-19"), "no folder nowhere")
    told = json.loads(cmm("export", BTC, "--json").stdout)
    assert [(one["path"], one["rows"]) for one in told] == [(f"{BTC}.2024-07-19.npz", 4), (f"{BTC}.2024-07-20.npz", 5)]
    assert [path.name for path in sorted(Path().glob("*.20*.npz"))] == [
        f"{BTC}.2024-07-19.npz",
        f"{BTC}.2024-07-20.npz",
    ]


@pytest.mark.parametrize("rows", [1, 4, 100])
@given(times=st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_both_clocks_are_in_order_and_no_row_is_lost(rows: int, times: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("venues.recordings.hftbacktest_export._ROWS", rows)
        check_order(np.array(times))


def check_order(exchange: np.ndarray[Any, Any]) -> None:
    blocks = [(*_in_order(exchange[block]), block.start) for block in _blocks(_stand_once(exchange))]
    places = np.concatenate([found + start for found, _, start in blocks])
    sides = np.concatenate([found for _, found, _ in blocks])
    for flag, key in ((EXCH, exchange), (LOCAL, np.arange(len(exchange)))):
        chosen = places[(sides & np.uint64(flag)) != 0]
        assert sorted(chosen) == list(range(len(exchange)))
        assert (np.diff(key[chosen]) >= 0).all()


@settings(max_examples=40)
@given(place=st.integers(0, 2_000), byte=st.integers(0, 255), cut=st.integers(0, 80))
def test_a_damaged_file_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int, cut: int
) -> None:
    out = io.BytesIO()
    array = np.array([(ev, e, loc, px, qty, oid, 0, 0.0) for ev, e, loc, px, qty, oid in LEVELS], RECORD)
    np.savez(out, data=array)
    data = bytearray(out.getvalue())
    data[place % len(data)] = byte
    path = tmp_path_factory.mktemp("hft") / f"{BTC}.npz"
    path.write_bytes(bytes(data[: len(data) - cut]))
    with contextlib.suppress(DataError):
        list(
            LOADERS["hftbacktest"].events(
                Recording("hftbacktest", (path,)), RecordingTerms(ContractTable()), Findings()
            )
        )
