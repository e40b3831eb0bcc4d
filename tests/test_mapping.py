"""Any CSV or Parquet by a mapping file: the same events as the format it was made from, or a plain refusal."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dirty import T0, cmm, events, refused, write

BTC = "BTCUSDT-PERP.BINANCE"
T0_US = T0 // 1000
CHANGES = """\
instrument: BTCUSDT-PERP.BINANCE
time: {arrival: local, exchange: time, unit: us}
rows:
  - {row: change, files: "*book*", price: px, size: qty, side: side, bid: [b], ask: [a], snapshot: {column: kind, is: [snap]}}
  - {row: trade, files: "*trades*", price: px, size: qty, side: side, buy: [B], sell: [S], id: id}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mapping(home: Path, text: str | dict[str, object], name: str = "mine.yaml") -> Path:
    return write(home / name, text if isinstance(text, str) else yaml.safe_dump(text))


def mapped(mine: Path, *paths: Path, into: str = "mapped") -> dict[str, int]:
    """Import by a mapping into a catalog of its own; return what was left out or changed."""
    result = cmm("import", "--map", mine, *paths, "--json", "--set", f"data.path={into}")
    assert result.exit_code == 0, result.output
    drops: dict[str, int] = json.loads(result.stdout)[0]["drops"]
    return drops


def native(*paths: Path) -> dict[str, int]:
    result = cmm("import", *paths, "--json", "--set", "data.path=native")
    assert result.exit_code == 0, result.output
    drops: dict[str, int] = json.loads(result.stdout)[0]["drops"]
    return drops


def same(instrument: str, into: str = "mapped") -> list[dict[str, object]]:
    """Events of both catalogs, which are equal."""
    ours = events(instrument, "--set", f"data.path={into}")
    assert ours == events(instrument, "--set", "data.path=native")
    return ours


# ── The same as the formats ───────────────────────────────────────────────────────────────────

L2 = [
    (0, 10, "true", "bid", "100", "1"), (0, 10, "true", "ask", "101", "1"),
    (0, 15, "true", "bid", "99", "2"), (0, 15, "true", "ask", "102", "2"),  # more of the snapshot
    (30, 40, "false", "bid", "98", "3"), (30, 40, "false", "bid", "100", "0"),
    (31, 50, "false", "ask", "101.05", "3"),  # off the tick
    (32, 60, "false", "ask", "101", "5"),
]  # fmt: skip
PRINTS = [
    (33, 45, 7, "buy", "101", "0.5"),
    (33, 45, 7, "buy", "101", "0.5"),
    (34, 60, 8, "sell", "98", "0.25"),
    (35, 61, 9, "unknown", "98", "1"),
]
TARDIS = "exchange,symbol,timestamp,local_timestamp"


def tardis(home: Path) -> tuple[Path, Path]:
    book = write(
        home / "t_book.csv", f"{TARDIS},is_snapshot,side,price,amount",
        *(f"binance-futures,BTCUSDT,{T0_US + at},{T0_US + local},{whole},{side},{px},{qty}" for at, local, whole, side, px, qty in L2),
    )  # fmt: skip
    prints = write(
        home / "t_trades.csv", f"{TARDIS},id,side,price,amount",
        *(f"binance-futures,BTCUSDT,{T0_US + at},{T0_US + local},{key},{side},{px},{qty}" for at, local, key, side, px, qty in PRINTS),
    )  # fmt: skip
    return book, prints


def generic(home: Path, suffix: str = ".csv") -> tuple[Path, Path]:
    """The same with other columns, and no side where the aggressor is unknown."""
    book = "local,time,kind,side,px,qty\n" + "".join(
        f"{T0_US + local},{T0_US + at},{'snap' if whole == 'true' else 'diff'},{side[0].upper()},{px},{qty}\n"
        for at, local, whole, side, px, qty in L2
    )
    prints = "local,time,id,side,px,qty\n" + "".join(
        f"{T0_US + local},{T0_US + at},{key},{side[0].upper() if side != 'unknown' else ''},{px},{qty}\n"
        for at, local, key, side, px, qty in PRINTS
    )
    paths = []
    for name, text in (("book", book), ("trades", prints)):
        path = home / f"g_{name}{suffix}"
        paths.append(path)
        if suffix == ".csv.gz":
            path.write_bytes(gzip.compress(text.encode()))
        elif suffix == ".csv.zst":
            path.write_bytes(zstandard.compress(text.encode()))
        elif suffix == ".parquet":
            pq.write_table(pacsv.read_csv(pa.BufferReader(text.encode())), path)
        else:
            path.write_text(text)
    return paths[0], paths[1]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zst", ".parquet"])
def test_changes_and_trades_as_tardis_tells_them(home: Path, suffix: str) -> None:
    expected = native(*tardis(home))
    assert mapped(mapping(home, CHANGES), *generic(home, suffix)) == expected == {"duplicate_trade": 1, "off_tick": 1}
    told = same(BTC)
    assert [event["kind"] for event in told].count("trade") == 3 and len(told) == 6


def test_snapshots_as_tardis_tells_them(home: Path) -> None:
    header = ",".join(
        f"{side}[{i}].{what}" for i in range(3) for side in ("asks", "bids") for what in ("price", "amount")
    )
    ours = ",".join(f"{side}_{what}_{i:02d}" for i in range(1, 4) for side in ("ask", "bid") for what in ("px", "sz"))
    rows = [
        "101,1,100,2,102,1,99,2,103,1,98,2",
        "101,1,100,2,102,4,99,2,,,,",
        "101,0.5,100.05,2,102,1,99,2,103,1,98,2",
        "102,1,101,2,103,1,100,2,104,1,99,2",
    ]
    t = [f"binance-futures,BTCUSDT,{T0_US + 10 * n},{T0_US + 10 * n + 5},{row}" for n, row in enumerate(rows)]
    g = [
        f"{T0_US + 10 * n + 5},{T0_US + 10 * n},{row.replace('100.05', 'off').replace('off', '100.05')}"
        for n, row in enumerate(rows)
    ]
    expected = native(write(home / "t.csv", f"{TARDIS},{header}", *t))
    mine = {
        "instrument": BTC, "time": {"arrival": "local", "exchange": "time", "unit": "us"},
        "rows": [{"row": "snapshot", "bid_price": "bid_px_{i}", "bid_size": "bid_sz_{i}", "ask_price": "ask_px_{i}", "ask_size": "ask_sz_{i}"}],
    }  # fmt: skip
    assert mapped(mapping(home, mine), write(home / "g.csv", f"local,time,{ours}", *g)) == expected == {"off_tick": 1}
    assert len(same(BTC)) == 3


def test_orders_as_bitstamp_tells_them(home: Path) -> None:
    rows = [
        (1, 0, 236.47, 2.0, "created", "bid"), (2, 1, 236.60, 1.5, "created", "ask"), (3, 2, 236.40, 1.0, "created", "bid"),
        (1, 3, 236.47, 0.5, "changed", "bid"), (9, 4, 236.47, 0.5, "deleted", "bid"), (3, 5, 236.41, 1.0, "changed", "bid"),
        (2, 6, 236.60, 0.0, "deleted", "ask"), (1, 7, 236.47, 4.0, "created", "bid"),
    ]  # fmt: skip
    t0 = 1_430_438_404_518
    expected = native(
        write(
            home / "t.csv", "id,timestamp,exchange.timestamp,price,volume,action,direction",
            *(f"{oid},{t0 + ms},{t0 + ms},{px},{qty},{act},{side}" for oid, ms, px, qty, act, side in rows),
        )
    )  # fmt: skip
    prints = [e for e in events("BTCUSD.BITSTAMP", "--set", "data.path=native") if e["kind"] == "trade"]
    orders = write(
        home / "orders.csv", "when;order;cents;nano;what;way",
        *(f"{(t0 + ms) / 1000:.3f};{oid};{round(px * 100)};{round(qty * 1e9)};{act};{side[0]}" for oid, ms, px, qty, act, side in rows),
    )  # fmt: skip
    trades = write(
        home / "trades.csv",
        "when;cents;nano;way",
        *(f"{e['ts'] / 1e9:.3f};{round(e['price'] * 100)};{e['lots'] * 10};{e['aggressor']}" for e in prints),
    )
    price, size = {"column": "cents", "unit": "0.01"}, {"column": "nano", "unit": "1e-9"}
    mine = {
        "instrument": "BTCUSD.BITSTAMP", "time": {"arrival": "when", "unit": "s"}, "csv": {"delimiter": ";"},
        "rows": [
            {"row": "order", "files": "orders*", "id": "order", "price": price, "size": size, "side": "way", "bid": "b", "ask": "a",
             "action": "what", "add": "created", "change": "changed", "delete": "deleted"},
            {"row": "trade", "files": "trades*", "price": price, "size": size, "side": "way", "buy": "buy", "sell": "sell"},
        ],
    }  # fmt: skip
    assert len(prints) == 2
    assert mapped(mapping(home, mine), orders, trades) == expected == {"duplicate_order": 1, "unknown_order": 1}
    same("BTCUSD.BITSTAMP")
    tried = cmm("import", "--map", home / "mine.yaml", orders, trades, "--try", "--json")
    assert [json.loads(line) for line in tried.stdout.splitlines()] == events(
        "BTCUSD.BITSTAMP", "--set", "data.path=native"
    )


def test_kinds_of_row_and_instruments_mixed_in_one_file(home: Path) -> None:
    rows = [
        "BTC,2024-07-19T08:00:00.000000001,Q,bid,100,1,", "BTC,2024-07-19T08:00:00.000000001,Q,ask,101,1,",
        "BTC,2024-07-19T08:00:00.5,H,,,,", "ETH,2024-07-19T08:00:01,Q,bid,50,2,", "XRP,2024-07-19T08:00:01,Q,bid,50,2,",
        "BTC,2024-07-19T08:00:02,T,true,100,0.5,x", "BTC,2024-07-19T08:00:03,Q,bid,100,0.5,",
    ]  # fmt: skip
    mine = {
        "instrument": {"column": "name", "names": {"BTC": BTC, "ETH": "ETHUSDT-PERP.BINANCE"}},
        "time": {"exchange": "at", "format": "iso", "timezone": "Asia/Shanghai"},
        "rows": [
            {"row": "change", "when": {"column": "k", "is": "Q"}, "price": "p", "size": "q", "side": "s", "bid": "bid", "ask": "ask"},
            {"row": "trade", "when": {"column": "k", "is": ["T"]}, "price": "p", "size": "q", "side": "s", "buy": False, "sell": True, "id": "id"},
        ],
    }  # fmt: skip
    assert mapped(mapping(home, mine), write(home / "a.csv", "name,at,k,s,p,q,id", *rows)) == {
        "other_instrument": 1,
        "row_of_no_kind": 1,
    }
    told = [(e["kind"], e["ts"] - T0) for e in events(BTC, "--set", "data.path=mapped")]
    assert told == [("book", 1), ("trade", 2 * 10**9), ("book", 3 * 10**9)]
    assert len(events("ETHUSDT-PERP.BINANCE", "--set", "data.path=mapped")) == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_files_of_one_kind_follow_each_other_by_time(home: Path, order: tuple[int, int]) -> None:
    mine = {"instrument": BTC, "time": {"arrival": ["d", "t"], "format": "%Y%m%d %H:%M:%S.%f"}, "rows": [
        {"row": "snapshot", "bid_price": "b", "bid_size": "B", "ask_price": "a", "ask_size": "A"}]}  # fmt: skip
    files = [
        write(home / f"{name}.csv", "d,t,b,B,a,A", f"202407{19 + n},08:00:00.25,{100 + n},1,{102 + n},1")
        for n, name in enumerate("za")
    ]
    mapped(mapping(home, mine), *(files[i] for i in order))
    told = events(BTC, "--set", "data.path=mapped")
    assert [e["bids"] for e in told] == [[[100.0, 1.0]], [[101.0, 1.0]]]
    assert told[0]["ts"] == T0 + 8 * 3600 * 10**9 + 250_000_000


def test_times_of_parquet_and_files_without_header(home: Path) -> None:
    rows = [{"row": "snapshot", "bid_price": "b", "bid_size": "B", "ask_price": "a", "ask_size": "A"}]
    mine = mapping(home, {"instrument": BTC, "time": {"arrival": "t", "timezone": "Asia/Shanghai"}, "rows": rows})
    stamps = pa.array([T0_US + 8 * 3600 * 10**6], pa.timestamp("us"))
    pq.write_table(pa.table({"t": stamps, "b": [100.0], "B": [1], "a": [101.0], "A": [None]}, schema=pa.schema(
        [("t", pa.timestamp("us")), ("b", pa.float64()), ("B", pa.int32()), ("a", pa.float64()), ("A", pa.float64())])), home / "a.parquet")  # fmt: skip
    refused(cmm("import", "--map", mine, home / "a.parquet"), "row 1", "'A'")
    pq.write_table(pa.table({"t": stamps, "b": [100.0], "B": [1], "a": [101.0], "A": [2]}), home / "a.parquet")
    mapped(mine, home / "a.parquet")
    bare = mapping(
        home,
        {"instrument": BTC, "time": {"arrival": "t", "unit": "ns"}, "rows": rows, "csv": {"columns": list("tbBaA")}},
        "bare.yaml",
    )
    mapped(bare, write(home / "a.csv", f"{T0},100,1,101,2"), into="native")
    assert same(BTC)[0]["ts"] == T0


QUOTES = {"row": "snapshot", "bid_price": "b.p", "bid_size": "B", "ask_price": "a[0]", "ask_size": "A"}


@pytest.mark.parametrize("form", ["plain", "bom", "crlf", "blanks", "quoted", "tabs", "parquet", "categories"])
def test_ways_to_write_a_table(home: Path, form: str) -> None:
    names, row = ["t", "who", "b.p", "B", "a[0]", "A"], [str(T0_US), "BTC", "100", "1", "101", "2"]
    mine = {"instrument": {"column": "who", "names": {"BTC": BTC}}, "time": {"arrival": "t"}, "rows": [QUOTES]}
    path = home / ("a.parquet" if form in ("parquet", "categories") else "a.csv")
    if path.suffix == ".parquet":
        who = pa.array(["BTC"])
        columns = [
            pa.array([float(T0_US)]),
            who.dictionary_encode() if form == "categories" else who,
            *(pa.array([int(x)]) for x in row[2:]),
        ]
        pq.write_table(pa.table(columns, names=names), path)
    else:
        sep = {"tabs": "\t", "blanks": " , "}.get(form, ",")
        if form == "quoted":
            names, row = [f'"{name}"' for name in names], [f'"{field}"' for field in row]
        text = "".join(sep.join(line) + ("\r\n" if form == "crlf" else "\n") for line in (names, row))
        path.write_bytes((b"\xef\xbb\xbf" if form == "bom" else b"") + text.encode())
    if form == "tabs":
        mine["csv"] = {"delimiter": "\t"}
    mapped(mapping(home, mine), path)
    told = events(BTC, "--set", "data.path=mapped")
    assert [(e["ts"], e["bids"], e["asks"]) for e in told] == [(T0, [[100.0, 1.0]], [[101.0, 2.0]])]


def test_changes_without_a_whole_book_are_said_to_be_so(home: Path) -> None:
    book, _ = generic(home)
    bare = CHANGES.replace(", snapshot: {column: kind, is: [snap]}", "")
    result = cmm("import", "--map", mapping(home, bare), book)
    assert result.exit_code == 0 and "no row shows the whole book" in result.stdout
    assert (
        "no row shows"
        not in cmm("import", "--map", mapping(home, CHANGES, "whole.yaml"), book, "--set", "data.path=x").stdout
    )


def test_quotes_alone_and_trades_alone_are_recordings(home: Path) -> None:
    _, prints = generic(home)
    mapped(mapping(home, CHANGES), prints)
    assert [e["kind"] for e in events(BTC, "--set", "data.path=mapped")] == ["trade"] * 3


def test_a_group_of_orders_is_one_change(home: Path) -> None:
    mine = {"instrument": "BTCUSD.BITSTAMP", "time": {"arrival": "t"}, "rows": [
        {"row": "order", "id": "id", "price": "p", "size": "q", "side": "s", "bid": "b", "ask": "a", "group": "g"}]}  # fmt: skip
    rows = [f"{T0},b-{n},10{n},1,b,{g}" for n, g in ((1, "x"), (2, "x"), (3, "y"))]
    mapped(mapping(home, mine), write(home / "a.csv", "t,id,p,q,s,g", *rows, f"{T0},b-1,,0,,z"))
    assert [len(e["bids"]) for e in events("BTCUSD.BITSTAMP", "--set", "data.path=mapped")] == [2, 3, 2]


# ── What is refused ───────────────────────────────────────────────────────────────────────────

GOOD: dict[str, object] = yaml.safe_load(CHANGES)
ROW: dict[str, object] = GOOD["rows"][0]  # type: ignore[index]
FAULTS: dict[str, tuple[dict[str, object], str]] = {
    "unknown key": ({"tick": 1}, "tick"),
    "no rows": ({"rows": []}, "rows"),
    "unknown kind": ({"rows": [{"row": "candle"}]}, "rows[0].row"),
    "missing key": ({"rows": [{"row": "trade", "price": "px"}]}, "size"),
    "no time": ({"time": {}}, "arrival"),
    "unit": ({"time": {"arrival": "local", "unit": "h"}}, "time.unit"),
    "zone": ({"time": {"arrival": "local", "timezone": "Mars/Olympus"}}, "time.timezone"),
    "instrument": ({"instrument": "BTC"}, "instrument"),
    "same word": ({"rows": [ROW | {"ask": ["B"]}]}, "rows[0].ask"),
    "price unit": ({"rows": [ROW | {"price": {"column": "px", "unit": 0}}]}, "rows[0].price.unit"),
    "two books": ({"rows": [ROW, {"row": "order", "id": "i", "price": "p", "size": "q", "side": "s", "bid": "b", "ask": "a"}]}, "rows"),
    "delimiter": ({"csv": {"delimiter": "::"}}, "csv.delimiter"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mapping_that_does_not_fit_is_refused_with_file_and_key(home: Path, fault: str) -> None:
    change, key = FAULTS[fault]
    book, _ = generic(home)
    refused(cmm("import", "--map", mapping(home, GOOD | change), book), "mine.yaml", key)
    assert not (home / "data" / "manifest").exists()


ROWS = {
    "other side": ("x,100,1", "column 'side'", "'x'"),
    "no number": ("b,abc,1", "row 2", "column 'px'"),
    "infinite": ("b,inf,1", "row 2", "column 'px'"),
    "price without size": ("b,100,", "row 2", "column 'qty'"),
    "negative size": ("b,100,-1", "row 2", "column 'qty'"),
    "negative price": ("b,-37,1", "zero or below"),
    "too few fields": ("b,100", "cannot be read"),
}


@pytest.mark.parametrize("fault", ROWS)
def test_a_row_that_does_not_fit_is_refused_with_row_and_column(home: Path, fault: str) -> None:
    row, *says = ROWS[fault]
    lines = [f"{T0_US},{T0_US},snap,b,100,1", f"{T0_US},{T0_US},snap,{row}"]
    path = write(home / "a_book.csv", "local,time,kind,side,px,qty", *lines)
    refused(cmm("import", "--map", mapping(home, CHANGES), path), "a_book.csv" if len(says) > 1 else "", *says)


@pytest.mark.parametrize("stamp", ["1721347200", "tomorrow", "", "1721347200000000000"])
def test_a_time_of_another_unit_is_refused(home: Path, stamp: str) -> None:
    path = write(home / "a_book.csv", "local,time,kind,side,px,qty", f"{stamp},{T0_US},snap,b,100,1")
    refused(cmm("import", "--map", mapping(home, CHANGES), path), "row 1", "column 'local'")


def test_a_local_time_that_stands_twice_is_refused(home: Path) -> None:
    mine = CHANGES.replace("exchange: time, unit: us", "format: iso, timezone: Europe/Berlin")
    path = write(home / "a_book.csv", "local,time,kind,side,px,qty", f"2024-10-27 02:30:00,{T0_US},snap,b,100,1")
    refused(cmm("import", "--map", mapping(home, mine), path), "twice", "UTC")


def test_missing_columns_files_and_terms_are_refused(home: Path) -> None:
    mine, (book, _) = mapping(home, CHANGES), generic(home)
    refused(cmm("import", "--map", home / "none.yaml", book), "none.yaml", "cannot be read")
    refused(cmm("import", "--map", mine, home / "none_book.csv"), "no such file")
    refused(cmm("import", "--map", mine, write(home / "other.csv", "a,b", "1,2")), "other.csv", "files")
    refused(
        cmm("import", "--map", mine, write(home / "b_book.csv", "local,time,kind,side,px", "1,2,3,4,5")),
        "'qty'",
        "missing",
    )
    refused(cmm("import", "--map", mine, write(home / "b_book.csv", "local,time,kind,side,px,qty")), "empty")
    refused(cmm("import", "--map", mine, "--format", "ctp", book), "--format")
    refused(cmm("import", "--format", "mapping", book), "--map")
    refused(cmm("import", "--map", mapping(home, GOOD | {"instrument": "XX.NOWHERE"}), book), "no contract terms")
    cut = gzip.compress(book.read_bytes())[:-12]
    (home / "cut_book.csv.gz").write_bytes(cut)
    refused(cmm("import", "--map", mine, home / "cut_book.csv.gz"), "truncated or damaged")
    (home / "p_book.csv").write_bytes(b"PAR1 and no more")
    refused(cmm("import", "--map", mine, home / "p_book.csv"), "Parquet")


# ── A trial ───────────────────────────────────────────────────────────────────────────────────


def test_a_trial_shows_the_first_events_and_writes_nothing(home: Path) -> None:
    files = generic(home)
    mine = mapping(home, CHANGES)
    shown = cmm("import", "--map", mine, *files, "--try", "--json")
    assert shown.exit_code == 0 and not (home / "data").exists()
    assert "off_tick 1" in shown.stderr
    mapped(mine, *files)
    assert [json.loads(line) for line in shown.stdout.splitlines()] == events(BTC, "--set", "data.path=mapped")
    assert BTC in cmm("import", "--map", mine, *files, "--try").stdout


def test_the_example_of_the_manual_does_what_it_says(home: Path) -> None:
    manual = (Path(__file__).parents[1] / "docs" / "recordings.md").read_text()
    example = re.search(r"```yaml\n(instrument:.*?)```", manual, re.DOTALL)
    assert example is not None
    write(
        home / "my_book.csv", "symbol,local_ns,exch_ns,side,price_e9,qty", f"BTCUSDT-PERP,{T0},{T0},BUY,100000000000,1"
    )
    write(
        home / "my_trades.csv",
        "symbol,local_ns,exch_ns,side,price_e9,qty",
        f"BTCUSDT-PERP,{T0 + 5},{T0},SELL,100000000000,1",
    )
    mapped(mapping(home, example.group(1)), home / "my_book.csv", home / "my_trades.csv")
    told = events(BTC, "--set", "data.path=mapped")
    assert [(e["kind"], e.get("bids"), e.get("aggressor")) for e in told] == [
        ("book", [[100.0, 1.0]], None),
        ("trade", None, "sell"),
    ]


# ── Fuzzing ───────────────────────────────────────────────────────────────────────────────────

FIELDS = st.one_of(
    st.sampled_from(
        ["", "b", "a", "snap", "100", "1e3", "-1", "nan", "inf", str(T0_US), "1e400", "1_0", '"', "é", "\x00"]
    ),
    st.text(max_size=6),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.lists(FIELDS, min_size=4, max_size=7), max_size=5), place=st.integers(0, 5), word=FIELDS)
def test_any_rows_are_refused_or_understood(home: Path, rows: list[list[str]], place: int, word: str) -> None:
    good = [str(T0_US), str(T0_US), "snap", "b", "100", "1"]
    good[place] = word
    path = home / "f_book.csv"
    path.write_text("local,time,kind,side,px,qty\n" + "\n".join(",".join(row) for row in [good, *rows]) + "\n", "utf-8")
    result = cmm("import", "--map", mapping(home, CHANGES), path, "--try")
    assert result.exit_code in (0, 2), result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["px", "b", "iso", "", "{i}"])),
    lambda v: (
        st.lists(v, max_size=2) | st.dictionaries(st.sampled_from(["column", "unit", "is", "row"]), v, max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(key=st.sampled_from(["instrument", "time", "rows", "csv", *ROW]), value=VALUES)
def test_any_mapping_is_refused_or_used(home: Path, key: str, value: object) -> None:
    book, _ = generic(home)
    changed = GOOD | ({key: value} if key in GOOD or key == "csv" else {"rows": [ROW | {key: value}]})
    result = cmm("import", "--map", mapping(home, changed), book, "--try")
    assert result.exit_code in (0, 2), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
