"""Forms of raw captures of Binance: times before the messages or none, envelopes or none, less than a book."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dirty import MS, T0, cmm, events, imported, last, refused, trades, write
from venues.recordings.loaders.units import stamp_ns

PERP, SPOT = "BTCUSDT-PERP.BINANCE", "BTCUSDT.BINANCE"
SNAPSHOT = {"lastUpdateId": 100, "bids": [["100.0", "1"], ["99.9", "2"]], "asks": [["100.1", "1"]]}
LAST = ([[100.0, 1.0], [99.9, 2.0], [99.8, 4.0]], [[100.1, 1.0]])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dump(message: Any) -> str:
    return json.dumps(message, separators=(",", ":"))


def diff(ms: int, u: int, **more: Any) -> dict[str, Any]:
    times = {"E": T0 // MS + ms + 4, "T": T0 // MS + ms}
    return {"e": "depthUpdate", **times, "s": "BTCUSDT", "U": u, "u": u, "pu": u - 1, "b": [], "a": [], **more}


def trade(ms: int, number: int, **more: Any) -> dict[str, Any]:
    times = {"E": T0 // MS + ms + 4, "T": T0 // MS + ms}
    return {"e": "trade", **times, "s": "BTCUSDT", "t": number, "p": "100.1", "q": "0.4", "m": False, **more}


def quote(u: int, bid: str = "100.0", ask: str = "100.1", **more: Any) -> dict[str, Any]:
    return {"u": u, "s": "BTCUSDT", "b": bid, "B": "2", "a": ask, "A": "3", **more}


def wrapped(message: dict[str, Any]) -> dict[str, Any]:
    kind = {"depthUpdate": "depth@100ms", "trade": "trade"}[message["e"]]
    return {"stream": f"btcusdt@{kind}", "data": message}


MESSAGES = [SNAPSHOT, diff(10, 101, b=[["99.8", "4"]]), trade(20, 1, X="MARKET"), {"result": None, "id": 1}]


@pytest.mark.parametrize("envelope", [True, False])
@pytest.mark.parametrize(
    "prefix",
    ["{s:.9f} ", "{ms} ", "{us}\t", "{ns},", "{ms}.5 ", "{iso}Z ", "{iso}+00:00\t", "{blank}.000250 ", "{blank},25Z | ", "{s:.3f} ; "],
)  # fmt: skip
def test_any_time_before_a_message(home: Path, prefix: str, envelope: bool) -> None:
    rows = []
    for place, message in enumerate(MESSAGES):
        ns = T0 + place * 10 * MS
        iso = f"2024-07-19T00:00:00.{place:02}0000001"
        fields = {"s": ns / 1e9, "ms": ns // MS, "us": ns // 1000, "ns": ns, "iso": iso, "blank": "2024-07-19 00:00:00"}
        rows.append(prefix.format(**fields) + dump(wrapped(message) if envelope and "e" in message else message))
    assert imported(write(home / "a.txt", *rows)) == {"control_message": 1}
    shown = events(PERP)
    assert [e["kind"] for e in shown] == ["book", "book", "trade"]
    assert all(0 <= e["ts"] - T0 < 1000 * MS for e in shown)
    if prefix.startswith("{iso}"):
        assert [e["ts"] - T0 for e in shown] == [1, 10 * MS + 1, 20 * MS + 1]
    assert (shown[1]["bids"], shown[1]["asks"]) == (LAST[0], LAST[1])


@given(st.integers(10**18, 4 * 10**18))
def test_a_stamp_is_read_to_the_nanosecond_in_any_unit(ns: int) -> None:
    forms = [
        str(ns),
        f"{ns // 1000}.{ns % 1000:03}",
        f"{ns // 10**6}.{ns % 10**6:06}",
        f"{ns // 10**9}.{ns % 10**9:09}",
    ]
    assert {stamp_ns(form) for form in forms} == {ns}


def test_messages_quoted_as_csv_does(home: Path) -> None:
    rows = ['{},"{}"'.format(T0 + i * MS, dump(m).replace('"', '""')) for i, m in enumerate(MESSAGES)]
    imported(write(home / "a.csv", *rows))
    assert last(PERP) == LAST


def test_without_times_a_message_stands_at_the_exchange_s(home: Path) -> None:
    result = cmm("import", write(home / "a.jsonl", *map(dump, MESSAGES)))
    assert result.exit_code == 0, result.output
    assert "no arrival times" in result.stdout
    assert [(e["ts"] - T0, e["ts_event"] - T0) for e in events(PERP)] == [
        (14 * MS, 14 * MS),  # the snapshot bears no time: it is the book before the first diff
        (14 * MS + 1, 10 * MS),
        (24 * MS, 20 * MS),
    ]


def test_times_without_a_zone_must_fit_the_exchange_s(home: Path) -> None:
    rows = [f"2024-07-19 00:00:00.0{i}0 {dump(m)}" for i, m in enumerate(MESSAGES)]
    result = cmm("import", write(home / "a.txt", *rows))
    assert "taken as UTC" in result.stdout
    local = write(home / "b.txt", *(row.replace("19 00", "19 08") for row in rows))
    refused(cmm("import", local), "b.txt, line 2", "no zone", "+8.0 h", "UTC")


def test_spot_messages_without_times(home: Path) -> None:
    spot = [quote(99), SNAPSHOT, {k: v for k, v in diff(10, 101, b=[["99.8", "4"]]).items() if k not in ("pu", "T")}]
    assert imported(write(home / "a.jsonl", *map(dump, spot))) == {"quote_before_snapshot": 1}
    assert last(SPOT) == LAST
    refused(cmm("import", write(home / "b.txt", *[dump(quote(i)) for i in (1, 2)])), "bear a time")


def test_best_quotes_and_trades_alone(home: Path) -> None:
    at = [f"{T0 + i * MS} " for i in range(5)]
    future = {"e": "bookTicker", "E": T0 // MS, "T": T0 // MS - 1}
    rows = [
        at[0] + dump(quote(5, **future)),
        at[1] + dump(trade(1, 1, X="MARKET")),
        at[2] + dump(quote(6, bid="99.9", **future)),
        at[3] + dump(quote(6, **future)),
        at[4] + dump(quote(7, ask="100.15", **future)),
    ]
    assert imported(write(home / "a.txt", *rows)) == {"quote_older_than_book": 1, "off_tick": 1}
    assert last(PERP) == ([[99.9, 2.0]], [[100.1, 3.0]])
    assert trades(PERP) == [(100.1, 400, "buy")]
    imported(write(home / "spot.txt", at[0] + dump(quote(5)), at[1] + dump(trade(1, 1, M=True))))
    assert (last(SPOT), len(trades(SPOT))) == (([[100.0, 2.0]], [[100.1, 3.0]]), 1)


@pytest.mark.parametrize("instrument", [SPOT, PERP])
def test_the_best_levels_anew_with_each_message(home: Path, instrument: str) -> None:
    def shown(u: int, bids: list[list[str]]) -> dict[str, Any]:
        if instrument == SPOT:
            return {"lastUpdateId": u, "bids": bids, "asks": [["100.1", "1"]]}
        return diff(0, u, b=bids, a=[["100.1", "1"]])

    messages = [shown(100, [["100.0", "1"], ["99.9", "2"]]), shown(99, [["98.0", "1"]]), shown(101, [["99.9", "3"]])]
    rows = [f"{T0 + i * MS} {dump({'stream': 'btcusdt@depth5@100ms', 'data': m})}" for i, m in enumerate(messages)]
    assert imported(write(home / "a.txt", *rows)) == {"quote_older_than_book": 1}
    assert last(instrument) == ([[99.9, 3.0]], [[100.1, 1.0]])


def test_trades_alone(home: Path) -> None:
    imported(write(home / "a.txt", *(f"{T0 + i * MS} {dump(trade(i, i, X='MARKET'))}" for i in (1, 2))))
    assert len(trades(PERP)) == 2


def test_a_file_a_stream(home: Path) -> None:
    future = {"e": "bookTicker", "E": T0 // MS, "T": T0 // MS}
    streams = {
        "trade": [(15, trade(1, 1, X="MARKET")), (35, trade(2, 2, X="MARKET"))],
        "depth": [
            (0, SNAPSHOT),
            (10, diff(10, 101, b=[["99.8", "4"]])),
            (30, diff(30, 103, pu=101, b=[["100.0", "5"]])),
        ],
        "bookTicker": [(20, quote(102, **future)), (40, quote(104, bid="99.9", **future))],
    }
    files = [
        write(home / f"{name}.txt", *(f"{T0 + ms * MS} {dump(message)}" for ms, message in rows))
        for name, rows in streams.items()
    ]
    assert imported(*files) == {}
    assert [(e["kind"], (e["ts"] - T0) // MS) for e in events(PERP)] == [
        ("book", 0), ("book", 10), ("trade", 15), ("book", 20), ("book", 30), ("trade", 35), ("book", 40),
    ]  # fmt: skip
    assert last(PERP) == ([[99.9, 2.0], [99.8, 4.0]], [[100.1, 3.0]])


def test_one_form_a_file(home: Path) -> None:
    mixed = write(home / "a.txt", f"{T0} {dump(SNAPSHOT)}", dump(MESSAGES[1]))
    refused(cmm("import", mixed), "line 2", "does not begin with a time")
    refused(
        cmm("import", write(home / "b.txt", dump(MESSAGES[1]), f"{T0} {dump(SNAPSHOT)}")),
        "line 2",
        "not a JSON message",
    )
