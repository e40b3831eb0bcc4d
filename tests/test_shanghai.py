"""Shanghai stocks order by order: the sequence, what is left of an aggressive order, auctions, two vendors."""

from __future__ import annotations

from pathlib import Path

import pytest

from market.contracts import ContractTable
from tests.dirty import books, cmm, events, imported, last, refused, trades, write

STOCK = "600999.SSE"
ENTRUST = (
    "DataStatus,OrderIndex,OrderChannel,SecurityID,OrderTime,OrderType,OrderNO,OrderPrice,Balance,OrderBSFlag,"
    "BizIndex,LocalTime,SeqNo"
)
TRADE = (
    "DataStatus,TradeIndex,TradeChan,SecurityID,TradTime,TradPrice,TradVolume,TradeMoney,TradeBuyNo,TradeSellNo,"
    "TradeBSFlag,BizIndex,LocalTime,SeqNo"
)
ORDERS = (
    "MDDate,MDTime,SecurityType,SecuritySubType,SecurityIDSource,Symbol,ReceiveDateTime,OrderIndex,OrderType,"
    "OrderPrice,OrderQty,OrderBSFlag,ChannelNo,ApplSeqNum,OrderNO,SecurityID"
)
TRADES = (
    "MDDate,MDTime,SecurityType,SecuritySubType,SecurityIDSource,Symbol,TradingPhaseCode,TradeIndex,TradeBuyNo,"
    "TradeSellNo,TradeType,TradeBSFlag,TradePrice,TradeQty,TradeMoney,ReceiveDateTime,NumTrades,ChannelNo,"
    "ApplSeqNum,SecurityID"
)
SNAPSHOT = ",".join(
    ["UpdateTime", "SecurityID", "InstruStatus", "TradVolume", "LocalTime"]
    + [f"{side}{what}{i}" for side in ("Ask", "Bid") for i in range(1, 11) for what in ("Price", "Volume")]
)
SECOND = {"A": "2", "D": "10", "B": "1", "S": "2", "N": "0"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Tape:
    """Rows of a day as either vendor writes them; each takes the next place in the sequence."""

    def __init__(self) -> None:
        self.sequence = 100
        self.rows: list[tuple[bool, dict[str, str]]] = []

    def order(
        self, at: str, kind: str, oid: int, side: str, price: object, size: object, late: str = "", **more: object
    ) -> None:
        self._row(True, at, late, more, kind=kind, oid=oid, side=side, price=price, size=size)

    def trade(
        self, at: str, buyer: int, seller: int, flag: str, price: object, size: object, late: str = "", **more: object
    ) -> None:
        self._row(False, at, late, more, buyer=buyer, seller=seller, side=flag, price=price, size=size)

    def _row(self, is_order: bool, at: str, late: str, more: dict[str, object], **fields: object) -> None:
        self.sequence += 3  # other stocks of the channel stand between
        words = {"at": at, "late": late or at, "channel": 6, "code": "600999", "seq": self.sequence, **fields, **more}
        self.rows.append((is_order, {name: str(value) for name, value in words.items()}))

    def first(self, folder: Path, name: str = "SSE.600999.20230201") -> list[Path]:
        orders = [
            f"0,1,{r['channel']},{r['code']},{r['at']},{r['kind']},{r['oid']},{r['price']},{r['size']},{r['side']},"
            f"{r['seq']},{r['late']},1"
            for is_order, r in self.rows if is_order
        ]  # fmt: skip
        trades = [
            f"0,1,{r['channel']},{r['code']},{r['at']},{r['price']},{r['size']},0,{r['buyer']},{r['seller']},{r['side']},"
            f"{r['seq']},{r['late']},1"
            for is_order, r in self.rows if not is_order
        ]  # fmt: skip
        return [
            write(folder / f"{name}.entrust.csv", ENTRUST, *orders),
            write(folder / f"{name}.trade.csv", TRADE, *trades),
        ]

    def second(self, folder: Path) -> list[Path]:
        def common(r: dict[str, str]) -> tuple[str, str]:
            return f"2023.02.01,{r['at']},2,02001,101,某某股份", f"2023.02.01T{r['late']}"

        orders = [
            f"{common(r)[0]},{common(r)[1]},7,{SECOND[r['kind']]},{r['price']},{r['size']},{SECOND[r['side']]},"
            f"{r['channel']},{r['seq']},{r['oid']},{r['code']}.SH"
            for is_order, r in self.rows if is_order
        ]  # fmt: skip
        trades = [
            f"{common(r)[0]},,7,{r['buyer']},{r['seller']},0,{SECOND[r['side']]},{r['price']},{r['size']},0,"
            f"{common(r)[1]},0,{r['channel']},{r['seq']},{r['code']}.SH"
            for is_order, r in self.rows if not is_order
        ]  # fmt: skip
        return [
            write(folder / "SSE.orders.csv", ORDERS, *orders),
            write(folder / "SSE.trades.csv", TRADES, *trades),
        ]


def opened() -> Tape:
    """A book of three orders a side after the opening auction, which traded 100 and had crossed by 5 ticks."""
    tape = Tape()
    tape.order("09:15:00.020", "A", 11, "S", 10.00, 100, late="09:25:26.145")
    tape.order("09:15:00.030", "A", 12, "B", 10.05, 300, late="09:25:26.145")
    tape.order("09:15:01.000", "A", 13, "B", 9.99, 500, late="09:25:26.146")
    tape.order("09:16:00.000", "A", 14, "S", 10.06, 400, late="09:25:26.146")
    tape.order("09:16:01.000", "A", 15, "S", 10.06, 250, late="09:25:26.147")
    tape.order("09:17:00.000", "A", 16, "B", 9.90, 700, late="09:25:26.147")
    tape.order("09:18:00.000", "D", 16, "B", 9.90, 700, late="09:25:26.147")
    tape.trade("09:25:00.940", 12, 11, "N", 10.02, 100, late="09:25:08.075")
    return tape


def test_the_book_begins_uncrossed_with_what_the_opening_auction_left(home: Path) -> None:
    tape = opened()
    tape.order("09:30:01.000", "A", 21, "B", 9.98, 100)
    assert imported(*tape.first(home)) == {"auction_trade": 1, "waited_for_sequence": 1}
    first = events(STOCK)[0]
    assert (first["bids"], first["asks"]) == ([[10.05, 200], [9.99, 500]], [[10.06, 650]])
    assert not trades(STOCK)
    assert len(books(STOCK)) == 2


def test_both_vendors_tell_the_same(home: Path) -> None:
    tape = opened()
    tape.trade("09:30:02.100", 31, 14, "B", 10.06, 400)
    tape.order("09:30:02.100", "A", 31, "B", 10.06, 50)
    told = []
    for folder, make in (("one", tape.first), ("two", tape.second)):
        (home / folder).mkdir()
        data = f"data.path={home / folder / 'data'}"
        assert cmm("import", *make(home / folder), "--set", data).exit_code == 0
        told.append(events(STOCK, "--set", data))
    assert told[0] == told[1]
    assert len(told[0]) == 3


def test_the_rest_of_an_aggressive_order_joins_after_its_trades(home: Path) -> None:
    """It swept two orders of 650 and rests with 50: one change of the book, never crossed."""
    tape = opened()
    tape.trade("09:30:02.100", 31, 14, "B", 10.06, 400)
    tape.trade("09:30:02.100", 31, 15, "B", 10.06, 250)
    tape.order("09:30:02.100", "A", 31, "B", 10.06, 50)
    tape.order("09:30:03.000", "A", 32, "S", 10.07, 100)
    imported(*tape.first(home))
    assert trades(STOCK) == [(10.06, 400, "buy"), (10.06, 250, "buy")]
    assert [(bids[0], asks) for _, bids, asks in books(STOCK)[1:]] == [
        ([10.06, 50], []), ([10.06, 50], [[10.07, 100]])
    ]  # fmt: skip


def test_nothing_is_left_of_an_order_that_traded_whole(home: Path) -> None:
    tape = opened()
    tape.trade("09:30:02.100", 12, 31, "S", 10.05, 200)
    tape.trade("09:30:02.100", 13, 31, "S", 9.99, 37)  # an odd lot
    imported(*tape.first(home))
    assert trades(STOCK) == [(10.05, 200, "sell"), (9.99, 37, "sell")]
    assert last(STOCK) == ([[9.99, 463]], [[10.06, 650]])


def test_a_rest_that_arrives_later_is_a_change_of_its_own(home: Path) -> None:
    tape = opened()
    tape.trade("09:30:02.100", 31, 14, "B", 10.06, 400, late="09:30:02.200")
    tape.trade("09:30:02.100", 31, 15, "B", 10.06, 250, late="09:30:02.200")
    tape.order("09:30:02.100", "A", 31, "B", 10.06, 50, late="09:30:04.000")
    imported(*tape.first(home))
    assert [bids[0] for _, bids, _ in books(STOCK)[1:]] == [[10.05, 200], [10.06, 50]]


def test_the_aggressor_is_the_larger_number(home: Path) -> None:
    tape = opened()
    tape.trade("09:30:02.100", 13, 31, "S", 9.99, 100)
    tape.trade("09:30:02.200", 32, 15, "B", 10.06, 100)
    imported(*tape.first(home))
    assert trades(STOCK) == [(9.99, 100, "sell"), (10.06, 100, "buy")]


def test_a_delete_names_its_order_and_what_is_taken_away(home: Path) -> None:
    tape = opened()
    tape.order("09:30:01.000", "D", 14, "S", 10.06, 150)
    tape.order("09:30:02.000", "D", 15, "S", 10.06, 250)
    tape.order("09:30:03.000", "D", 999, "S", 10.06, 100)
    tape.trade("09:30:04.000", 31, 8, "B", 10.06, 100)
    drops = imported(*tape.first(home))
    assert drops["unknown_order"] == 2
    assert [asks for _, _, asks in books(STOCK)[1:]] == [[[10.06, 500]], [[10.06, 250]]]
    assert trades(STOCK) == [(10.06, 100, "buy")]  # it happened, whoever rested


def test_the_sequence_decides_and_arrivals_wait_for_it(home: Path) -> None:
    """The order arrives 5 s after the trade that follows it: what is known of the trade is known then."""
    tape = opened()
    tape.order("09:30:01.000", "A", 21, "B", 10.05, 80, late="09:30:06.000")
    tape.trade("09:30:01.500", 12, 31, "S", 10.05, 200, late="09:30:01.700")
    tape.trade("09:30:01.500", 21, 31, "S", 10.05, 30, late="09:30:01.701")
    assert imported(*tape.first(home))["waited_for_sequence"] == 3
    told = events(STOCK)
    assert [e["kind"] for e in told] == ["book", "book", "trade", "trade", "book"]
    assert all((e["ts"] // 10**9) % 60 == 6 for e in told[1:])
    assert last(STOCK)[0] == [[10.05, 50], [9.99, 500]]


def test_the_closing_auction_is_not_shown(home: Path) -> None:
    tape = opened()
    tape.order("14:56:59.990", "A", 41, "S", 10.07, 100)
    tape.order("14:57:00.000", "A", 42, "B", 10.50, 900)
    tape.order("14:58:00.000", "A", 43, "S", 9.50, 900)
    tape.trade("15:00:00.940", 42, 43, "N", 10.05, 900, late="15:00:02.000")
    assert imported(*tape.first(home)) == {"auction_trade": 2, "closing_auction": 2, "waited_for_sequence": 1}
    assert last(STOCK) == ([[10.05, 200], [9.99, 500]], [[10.06, 650], [10.07, 100]])


def test_before_august_2018_the_day_closed_without_an_auction(home: Path) -> None:
    tape = opened()
    tape.trade("14:59:00.000", 31, 14, "B", 10.06, 400)
    tape.order("14:59:59.000", "A", 42, "B", 10.01, 900)
    assert "closing_auction" not in imported(*tape.first(home, "SSE.600999.20180801"))
    assert last(STOCK)[0] == [[10.05, 200], [10.01, 900], [9.99, 500]]


def test_an_auction_after_a_halt_trades_resting_orders_of_both_sides(home: Path) -> None:
    tape = opened()
    tape.order("10:00:00.000", "A", 51, "B", 10.06, 100)  # crosses: the stock is halted
    tape.order("10:01:00.000", "A", 52, "S", 10.05, 300)
    tape.trade("10:30:00.000", 51, 14, "N", 10.06, 100)
    tape.trade("10:30:00.000", 12, 52, "N", 10.06, 200)
    imported(*tape.first(home))
    assert not trades(STOCK)
    assert all(not asks or bids[0][0] < asks[0][0] for _, bids, asks in books(STOCK))
    assert last(STOCK) == ([[9.99, 500]], [[10.05, 100], [10.06, 550]])


def test_prices_bear_the_noise_of_floats(home: Path) -> None:
    tape = opened()
    tape.order("09:30:01.000", "A", 21, "S", "10.06999999999999999", 100)
    tape.order("09:30:02.000", "A", 22, "B", "9.970000000000000639", "100.0")
    drops = imported(*tape.first(home))
    assert "off_tick" not in drops
    assert last(STOCK) == ([[10.05, 200], [9.99, 500], [9.97, 100]], [[10.06, 650], [10.07, 100]])


def test_a_row_that_comes_twice_counts_once(home: Path) -> None:
    tape = opened()
    tape.trade("09:30:02.100", 31, 14, "B", 10.06, 100)
    tape.rows.append(tape.rows[-1])
    tape.order("09:30:03.000", "A", 32, "S", 10.07, 100)
    tape.rows.append(tape.rows[-1])
    drops = imported(*tape.first(home))
    assert (drops["duplicate_trade"], drops["duplicate_order"]) == (1, 1)
    assert last(STOCK)[1] == [[10.06, 550], [10.07, 100]]


@pytest.mark.parametrize(("missing", "count"), [(None, 0), (0, 2), (1, 1), (2, 0)])
def test_a_missing_row_shows_in_trades_out_of_priority(home: Path, missing: int | None, count: int) -> None:
    """Without the trade or the delete of an order it seems to stand before those that trade later."""
    tape = opened()
    tape.trade("09:30:02.000", 12, 31, "S", 10.05, 200)
    tape.order("09:30:03.000", "D", 14, "S", 10.06, 400)
    tape.order("09:30:04.000", "A", 32, "S", 10.07, 100)
    tape.trade("09:30:05.000", 33, 15, "B", 10.06, 250)
    tape.trade("09:30:06.000", 13, 34, "S", 9.99, 100)
    tape.trade("09:30:07.000", 13, 35, "S", 9.99, 100)
    if missing is not None:
        del tape.rows[8 + missing]
    assert imported(*tape.first(home)).get("out_of_priority", 0) == count


def test_orders_at_the_market_do_not_rest(home: Path) -> None:
    tape = opened()
    tape.order("09:30:03.000", "A", 32, "S", 0, 100)
    tape.order("09:30:04.000", "S", 0, "B", 0, 0)  # a row of the trading status
    assert imported(*tape.first(home)) == {
        "auction_trade": 1, "waited_for_sequence": 1, "market_order": 1, "control_message": 1
    }  # fmt: skip


def test_the_book_is_checked_against_snapshots(home: Path) -> None:
    tape = opened()
    tape.trade("09:30:02.100", 31, 14, "B", 10.06, 400)
    tape.order("09:30:03.900", "A", 32, "S", 10.07, 100)

    def shown(status: str, volume: int, ask: int) -> str:
        asks = [f"10.06,{ask}", "10.07,100", *[","] * 8]
        bids = ["10.0500000000001,200", "9.99,500", *[","] * 8]
        return ",".join([f"09:30:03.000,600999,{status},{volume},09:30:04.100", *asks, *bids])

    files = tape.first(home)
    path = home / "SSE.600999.20230201.snapshot.csv"
    bad = write(path, SNAPSHOT, *[shown("TRADE", 500, size) for size in (250, 251)])
    assert imported(*files, bad)["snapshot_differs"] == 1
    told = cmm("inspect", STOCK, "--json")
    assert "1 of 2 snapshots in SSE.600999.20230201.snapshot.csv show another book" in told.stdout
    good = write(path, SNAPSHOT, shown("START", 0, 9), shown("TRADE", 500, 250))
    assert cmm("import", *files, good, "--again").exit_code == 0
    assert "snapshots" not in cmm("inspect", STOCK, "--json").stdout


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"oid": "x"}, ["entrust.csv, line 9", "OrderNO", "whole number"]),
        ({"kind": "Q"}, ["OrderType", "'Q' is not A, D, 2 or 10"]),
        ({"side": "N"}, ["OrderBSFlag", "'N' is not"]),
        ({"at": "9:30"}, ["OrderTime", "'9:30' is not a time"]),
        ({"at": "25:00:00.000"}, ["OrderTime", "is not a time"]),
        ({"late": "09:30:xx"}, ["LocalTime"]),
        ({"size": -5}, ["Balance", "a size"]),
        ({"price": "ten"}, ["OrderPrice", "a number"]),
        ({"price": -1}, ["prices of zero or below"]),
        ({"seq": 5}, ["BizIndex", "sort the file"]),
        ({"code": "600998"}, ["SecurityID", "split the file by stock"]),
        ({"channel": 7}, ["channel"]),
    ],
)
def test_bad_rows_are_refused_with_their_place(home: Path, change: dict[str, object], says: list[str]) -> None:
    tape = opened()
    tape.order("09:30:03.000", "A", 32, "S", 10.07, 100)
    tape.rows[-1][1].update({name: str(value) for name, value in change.items()})
    refused(cmm("import", *tape.first(home)), *says)


def test_orders_and_trades_belong_together(home: Path) -> None:
    orders, trades = opened().first(home)
    refused(cmm("import", orders), "give the trades of 600999 on 20230201")
    refused(cmm("import", trades), "give the orders of 600999 on 20230201")
    copy = write(home / "SSE.600999.20230201.again.csv", *orders.read_text().splitlines())
    refused(cmm("import", orders, copy, trades), "orders of the stock and day of")


def test_rows_without_a_date_need_it_in_the_files_name(home: Path) -> None:
    refused(cmm("import", *opened().first(home, "600999")), "put the day into the file's name")


def test_terms_hold_for_each_code_of_a_range_on_its_exchange_alone(home: Path) -> None:
    table = ContractTable()
    share, fund = table.find("SSE", "600519"), table.find("SSE", "510300")
    assert share is not None and fund is not None
    assert (share.id, share.tick, share.lot, fund.tick) == ("600519.SSE", 0.01, 1.0, 0.001)
    assert table.find("SSE", "000300") is table.find("SSE", "60051") is None
    assert table.find(None, "600519") is None  # digits alone mean another thing elsewhere
    own = write(
        home / "own.yaml", 'contracts: [{exchange: SSE, product: "600519", kind: equity, currency: CNY, tick: 1}]'
    )
    mine = ContractTable([own])
    assert [mine.by_id(f"{code}.SSE").tick for code in ("600519", "600520")] == [1.0, 0.01]


def test_shenzhen_is_another_market(home: Path) -> None:
    tape = opened()
    for _, row in tape.rows:
        row["code"] = "000001.SZ"
    refused(cmm("import", *tape.first(home)), "SecurityID", "a Shanghai stock's code")
