"""The loopback exchange: price and time, exact money, and the protocol as the account client sees it."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from engine.config import Config, LiveConfig
from engine.live.safety.account import cancel_everything
from engine.live.safety.state import Heartbeat, StateFolder
from engine.live.safety.watchdog import Watchdog
from market.contracts import ContractTable
from market.events import ASK, BID, BUY, SELL, BookUpdate, Trade
from tests.traders import HUNG_S
from venues.live.account_client import AccountClientError
from venues.live.bybit import BybitAccountClient
from venues.loopback.bybit import LoopbackBybit
from venues.loopback.engine import MatchingEngine
from venues.loopback.errors import OrderError
from venues.loopback.orders import Terms

TERMS = Terms("BTCUSDT", Decimal("0.1"), Decimal("0.001"), Decimal("0.0002"), Decimal("0.00055"))
BOOK = [(BID, 99, 5), (BID, 98, 9), (ASK, 101, 5), (ASK, 102, 9)]


def opened() -> MatchingEngine:
    engine = MatchingEngine(TERMS, Decimal(1000), lambda: 0)
    engine.update(BookUpdate("X", 0, 0, BOOK, snapshot=True))
    return engine


def book(engine: MatchingEngine, *levels: tuple[int, int, int]) -> None:
    engine.update(BookUpdate("X", 0, 0, list(levels)))


def trade(engine: MatchingEngine, price: int, size: int, aggressor: int) -> None:
    engine.trade(Trade("X", 0, 0, price, size, aggressor))


def test_what_rests_first_trades_first() -> None:
    engine = opened()
    order = engine.create("a", BID, 99, 4, "PostOnly", False)
    book(engine, (BID, 99, 8))  # three more behind us
    trade(engine, 99, 6, SELL)
    assert order.left == 3
    book(engine, (BID, 99, 1))
    assert engine.top(BID, 1) == {99: 4}
    trade(engine, 99, 3, SELL)
    assert (order.status, engine.position) == ("Filled", 4)
    assert engine.top(BID, 1) == {99: 1}


def test_a_cancel_of_others_leaves_from_behind() -> None:
    engine = opened()
    order = engine.create("a", BID, 99, 4, "PostOnly", False)
    book(engine, (BID, 99, 2))  # five stood before us: the two left are the first two of them
    trade(engine, 99, 3, SELL)
    assert order.left == 3


def test_a_trade_walks_the_book_as_far_as_its_price() -> None:
    engine = opened()
    ours = engine.create("a", BID, 98, 2, "GTC", False)
    trade(engine, 98, 30, SELL)
    assert ours.status == "Filled"  # 5 at 99, 9 at 98 before us
    assert engine.best(BID) is None


def test_others_that_come_to_rest_through_our_price_trade_with_us() -> None:
    engine = opened()
    ours = engine.create("a", ASK, 100, 4, "PostOnly", False)
    book(engine, (ASK, 101, 0), (BID, 100, 3))
    assert (ours.left, engine.position) == (1, -3)
    book(engine, (BID, 101, 3))
    assert (ours.status, engine.position) == ("Filled", -4)


def test_post_only_ioc_market_and_reduce_only() -> None:
    engine = opened()
    assert engine.create("a", BID, 101, 1, "PostOnly", False).reason == "EC_PostOnlyWillTakeLiquidity"
    taken = engine.create("b", BID, 101, 7, "IOC", False)
    assert (taken.status, taken.left, engine.position) == ("Cancelled", 2, 5)
    with pytest.raises(OrderError):
        engine.create("c", BID, 99, 1, "GTC", True)
    assert engine.create("d", ASK, None, 9, "IOC", True).lots == 5
    assert engine.position == 0
    assert not engine.open


def test_amending_down_keeps_the_place_and_anything_else_loses_it() -> None:
    engine = opened()
    book(engine, (BID, 99, 0))
    first = engine.create("a", BID, 99, 4, "GTC", False)
    second = engine.create("b", BID, 99, 4, "GTC", False)
    engine.amend(first, None, 2)
    trade(engine, 99, 1, SELL)
    assert first.left == 1
    engine.amend(first, None, 6)
    trade(engine, 99, 4, SELL)
    assert (first.left, second.status) == (5, "Filled")
    with pytest.raises(OrderError) as error:
        engine.amend(second, None, 9)
    assert error.value.code == 110001


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda e: e.create("a", BID, 99, 0, "GTC", False), 10001),
        (lambda e: (e.create("a", BID, 99, 1, "GTC", False), e.create("a", BID, 98, 1, "GTC", False)), 110072),
        (lambda e: e.cancel(None), 110001),
    ],
)
def test_refusals_have_the_protocols_codes(call: object, code: int) -> None:
    with pytest.raises(OrderError) as error:
        call(opened())  # type: ignore[operator]
    assert error.value.code == code


STEPS = st.lists(
    st.tuples(st.sampled_from(["place", "cancel", "trade", "book", "amend"]), st.integers(95, 105), st.integers(1, 9)),
    max_size=40,
)


@given(STEPS)
def test_money_adds_up_to_the_last_digit(steps: list[tuple[str, int, int]]) -> None:
    engine = opened()
    for kind, price, size in steps:
        side = BID if size % 2 else ASK
        if kind == "place":
            engine.create("", side, price, size, "GTC", False)
        elif kind == "cancel" and engine.open:
            engine.cancel(next(iter(engine.open.values())))
        elif kind == "amend" and engine.open:
            with suppress(OrderError):
                engine.amend(next(iter(engine.open.values())), None, size)
        elif kind == "trade":
            trade(engine, price, size, BUY if side == BID else SELL)
        elif kind == "book":
            book(engine, (BID if price < 100 else ASK, price, size))
    flow = Decimal(0)
    for e in engine.account.executions:
        value = e.price * TERMS.tick * e.lots * TERMS.lot
        flow += (-value if e.side == BID else value) - e.fee
    assert engine.account.flow == flow
    assert engine.position == sum(e.lots if e.side == BID else -e.lots for e in engine.account.executions)
    if not engine.position:
        assert engine.account.wallet == engine.account.start_cash + flow
    resting = engine.resting(BID) + engine.resting(ASK)
    shown = sum(sum(engine.top(side, 100).values()) for side in (BID, ASK))
    assert shown >= resting
    best_bid, best_ask = engine.best(BID), engine.best(ASK)
    ours = [o for o in engine.open.values() if o.side == ASK and best_bid is not None and o.price <= best_bid]
    assert not ours or best_ask is None or best_bid is None


# ── protocol ──────────────────────────────────────────────────────────────────────────────────


def at_exchange(act: object, secret: str = "S", timeout_s: float = HUNG_S) -> None:
    """Run a coroutine function with an exchange and a account client at it."""

    async def run() -> None:
        exchange = LoopbackBybit(TERMS, "K", "S", Decimal(1000))
        await exchange.start()
        exchange.engine.update(BookUpdate("X", 0, 0, BOOK, snapshot=True))
        client = BybitAccountClient(ContractTable().by_id("BTCUSDT-LINEAR.BYBIT"), "K", secret, exchange.url, timeout_s)
        try:
            await act(exchange, client)  # type: ignore[operator]
        finally:
            await client.close()
            await exchange.stop()

    asyncio.run(run())


def test_the_account_client_reads_the_account_and_cancels() -> None:
    async def act(exchange: LoopbackBybit, client: BybitAccountClient) -> None:
        engine = exchange.engine
        for i in range(130):  # more than a page
            engine.create(f"o{i}", BID, 90, 1, "GTC", False)
        for _ in range(120):
            engine.create("", BID, 101, 1, "IOC", False)
            engine.update(BookUpdate("X", 0, 0, [(ASK, 101, 5)]))
        assert len(await client.open_orders()) == 130
        fills = await client.fills(0)
        assert [f.trade_id for f in fills] == sorted(e.exec_id for e in engine.account.executions)
        assert sum(f.commission for f in fills) == engine.account.fees
        assert await client.position_lots() == 120
        assert await client.balance() == engine.account.wallet
        assert await client.fees() == (TERMS.maker, TERMS.taker)
        exchange.faults.clock_skew_s = 3600.0
        assert await client.clock_offset_ms() == pytest.approx(3.6e6, abs=1e3 * HUNG_S)
        exchange.faults.clock_skew_s = 0.0
        assert await client.mid_ticks() == 100
        assert (await cancel_everything(client, HUNG_S)).resting == 0
        assert not engine.open
        await client.flatten(120, 90)
        assert engine.position == 120 - 14

    at_exchange(act)


@pytest.mark.parametrize("fault", ["one_sided", "cross_book"])
def test_a_book_that_is_not_sound_is_an_answer_and_the_venue_not_unreachable(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMM_BYBIT_KEY", "K")
    monkeypatch.setenv("CMM_BYBIT_SECRET", "S")

    async def act(exchange: LoopbackBybit, client: BybitAccountClient) -> None:
        setattr(exchange.faults, fault, True)
        assert await client.mid_ticks() is None
        live = LiveConfig(base_url=exchange.url, state=str(tmp_path))
        watchdog = Watchdog(Config(live=live), ContractTable().by_id("BTCUSDT-LINEAR.BYBIT"), os.getpid())
        beat = Heartbeat(os.getpid(), time.monotonic_ns(), 0, "trading", mid=100.0)
        StateFolder(tmp_path).beat(beat)
        monkeypatch.setattr(Watchdog, "_next_beat", lambda _: asyncio.sleep(0, beat))
        for _ in range(live.audits + 1):
            await watchdog._audit()
        assert watchdog._beat.others_gross == 0.0
        assert StateFolder(tmp_path).stop_request() is None
        await watchdog._client.close()

    at_exchange(act)


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"http_status": 500}, "HTTP status 500"),
        ({"banned": True}, "HTTP status 403"),
        ({"http_hang": True}, "no answer in time"),
        ({"clock_skew_s": 60.0}, "10002"),
    ],
)
def test_a_venue_that_does_not_answer_is_unknown_not_undone(faults: dict[str, object], words: str) -> None:
    async def act(exchange: LoopbackBybit, client: BybitAccountClient) -> None:
        for name, value in faults.items():
            setattr(exchange.faults, name, value)
        with pytest.raises(AccountClientError, match=words):
            await client.open_orders()
        assert (await cancel_everything(client, 0.2)).resting is None

    at_exchange(act, timeout_s=0.2 if "http_hang" in faults else HUNG_S)


def test_a_wrong_signature_is_refused() -> None:
    async def act(exchange: LoopbackBybit, client: BybitAccountClient) -> None:
        with pytest.raises(AccountClientError, match="10004"):
            await client.balance()

    at_exchange(act, secret="wrong")


@pytest.mark.parametrize(
    ("method", "path", "given", "words"),
    [
        ("POST", "/v5/order/create", '{"side": "Up", "qty": "0.001"}', "10001 .*Up"),
        ("POST", "/v5/order/create", '{"side": "Buy"}', "10001 .*qty"),
        ("POST", "/v5/order/create", '{"side": "Buy", "qty": "much"}', "10001 "),
        ("POST", "/v5/order/create", '{"side"', "10001 "),
        ("POST", "/v5/order/create-batch", '{"request": []}', "10001 a batch holds 1 to 20 orders"),
        ("POST", "/v5/order/disconnected-cancel-all", '{"timeWindow": 2}', "10001 timeWindow: 3 to 300 seconds"),
        ("POST", "/v5/order/nothing", "{}", "10404 POST /v5/order/nothing"),
        ("POST", "/v5/account/info", "{}", "10404 POST /v5/account/info"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_with_a_code(method: str, path: str, given: str, words: str) -> None:
    async def act(exchange: LoopbackBybit, client: BybitAccountClient) -> None:
        with pytest.raises(AccountClientError, match=words):
            await client._rest._ask(method, path, given, msgspec.Raw, signed=True)
        assert not exchange.engine.orders

    at_exchange(act)


@pytest.mark.parametrize(
    "text",
    ["", "[1]", '"x"', '{"result": {}}', '{"retCode": 0}', '{"retCode": 0, "result": {"list": [{"orderId": "1"}]}}',
     '{"retCode": 0, "result": null}', "\xff",
     '{"retCode": 0, "result": {"list": [{"orderId": "1", "orderLinkId": "", "side": "Up", "price": "1", "leavesQty": "1"}]}}',
     '{"retCode": 0, "result": {"list": [{"orderId": "1", "orderLinkId": "", "side": "Buy", "price": "", "leavesQty": "1"}]}}'],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_unknown_too(text: str) -> None:
    async def run() -> None:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=text.encode("latin-1"))

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        client = BybitAccountClient(ContractTable().by_id("BTCUSDT-LINEAR.BYBIT"), "K", "S", url)
        try:
            with pytest.raises(AccountClientError, match="/v5/order/realtime"):
                await client.open_orders()
            assert (await cancel_everything(client, 0.2)).resting is None
        finally:
            await client.close()
            await runner.cleanup()

    asyncio.run(run())
