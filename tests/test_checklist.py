"""The go-live checklist against a venue that answers, one thing wrong at a time; replay's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from engine.config import Config
from engine.live.records.store import Store
from engine.live.safety.account import is_ours, recover_fills
from engine.live.trading.checklist import Item, check_account, check_venue, refusal
from market.contracts import ContractTable
from market.events import ASK, BID, BookUpdate
from tests.traders import HUNG_S
from venues.live.bybit import BybitAccountClient
from venues.loopback.bybit import LoopbackBybit
from venues.loopback.market import terms_of
from venues.recordings.replay import ReplayClock

CONTRACT = ContractTable().by_id("BTCUSDT-LINEAR.BYBIT")
BOOK = [(BID, 99_990, 50), (ASK, 100_010, 50)]

type Act = Callable[[LoopbackBybit, BybitAccountClient], Awaitable[None]]


def at_exchange(act: Act, cash: int = 1000) -> None:
    async def run() -> None:
        exchange = LoopbackBybit(terms_of(CONTRACT), "K", "S", Decimal(cash))
        await exchange.start()
        exchange.engine.update(BookUpdate("X", 0, 0, BOOK, snapshot=True))
        client = BybitAccountClient(CONTRACT, "K", "S", exchange.url, HUNG_S)
        try:
            await act(exchange, client)
        finally:
            await client.close()
            await exchange.stop()

    asyncio.run(run())


def broken(items: list[Item]) -> list[str]:
    return [item.name for item in items if not item.holds]


def change_terms(exchange: LoopbackBybit, **terms: object) -> None:
    exchange.engine.terms = msgspec.structs.replace(exchange.terms, **terms)


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (lambda x: None, []),
        (lambda x: setattr(x.faults, "clock_skew_s", 0.9), ["clock"]),
        (lambda x: change_terms(x, maker=Decimal("0.00025")), ["fees"]),
        (lambda x: change_terms(x, taker=Decimal("0.0006")), ["fees"]),
        (lambda x: change_terms(x, tick=Decimal("0.5")), ["steps"]),
        (lambda x: change_terms(x, lot=Decimal("0.01")), ["steps"]),
        (lambda x: setattr(x.engine.account, "start_cash", Decimal(0)), ["balance"]),
        (lambda x: setattr(x.engine.account, "start_cash", Decimal(99)), ["balance"]),
    ],
)
def test_the_venues_word_is_compared_with_ours(
    spoil: Callable[[LoopbackBybit], None], names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = msgspec.structs.replace(Config(), live=msgspec.structs.replace(Config().live, min_balance=100.0))

    async def act(exchange: LoopbackBybit, client: BybitAccountClient) -> None:
        spoil(exchange)

        async def offset(_: BybitAccountClient) -> float:  # exactly, however long the way takes
            return 1e3 * exchange.faults.clock_skew_s

        monkeypatch.setattr(BybitAccountClient, "clock_offset_ms", offset)
        items = await check_venue(config, CONTRACT, client)
        assert broken(items) == names
        error = refusal(items)
        assert (error is None) == (not names)
        assert not names or names[0] in str(error)

    at_exchange(act)


def test_orphans_are_cancelled_or_refused_and_missed_fills_are_learnt(tmp_path: Path) -> None:
    cancelling = Config()
    refusing = msgspec.structs.replace(Config(), live=msgspec.structs.replace(Config().live, orphans="refuse"))

    async def act(exchange: LoopbackBybit, client: BybitAccountClient) -> None:
        engine, store = exchange.engine, Store(tmp_path / "s.sqlite", CONTRACT)
        engine.create("O-1", BID, 99_000, 3, "PostOnly", False)
        items = await check_account(refusing, client, store, True)
        assert broken(items) == ["open orders"]
        assert len(engine.open) == 1
        engine.create("O-2", BID, 100_010, 5, "IOC", False)  # a fill that our process did not live to hear of
        items = await check_account(cancelling, client, store, False)
        assert broken(items) == []
        assert not engine.open
        assert (store.totals().position, store.totals().flow) == (5, engine.account.flow)
        assert await recover_fills(client, store) == []
        store.close()

    at_exchange(act)


def test_what_was_traded_before_the_store_is_none_of_its_business(tmp_path: Path) -> None:
    """A second state folder, minutes after the first: fills of the first explain nothing in it."""

    async def act(exchange: LoopbackBybit, client: BybitAccountClient) -> None:
        engine, now = exchange.engine, exchange.wall
        exchange.wall = lambda: now() - 300 * 10**9
        engine.create("O-1", BID, 100_010, 5, "IOC", False)
        engine.create("O-2", ASK, 99_990, 2, "IOC", False)
        exchange.wall = lambda: now() - 5 * 10**9
        engine.create("O-3", ASK, 99_990, 3, "IOC", False)
        exchange.wall = now
        store = Store(tmp_path / "s.sqlite", CONTRACT)
        assert broken(await check_account(Config(), client, store, True)) == []
        engine.create("O-4", BID, 100_010, 1, "IOC", False)
        assert broken(await check_account(Config(), client, store, False)) == []
        assert (store.totals().position, store.totals().fills) == (1, 1)
        store.close()

    at_exchange(act)


def test_a_position_that_no_fill_explains_is_refused_unless_adopted_at_the_first_start(tmp_path: Path) -> None:
    adopting = msgspec.structs.replace(Config(), live=msgspec.structs.replace(Config().live, start_position="adopt"))

    async def act(exchange: LoopbackBybit, client: BybitAccountClient) -> None:
        exchange.engine.account.position = 7
        store = Store(tmp_path / "s.sqlite", CONTRACT)
        assert broken(await check_account(Config(), client, store, True)) == ["position"]
        assert broken(await check_account(adopting, client, store, False)) == ["position"]
        assert broken(await check_account(adopting, client, store, True)) == []
        assert broken(await check_account(Config(), client, store, False)) == []
        exchange.engine.account.position = 8
        assert broken(await check_account(adopting, client, store, False)) == ["position"]
        store.close()

    at_exchange(act)


def test_whose_orders_are_ours() -> None:
    assert is_ours("O-20260101-000000-001-001-1")
    assert is_ours("FLAT-1")
    assert not is_ours("")
    assert not is_ours("somebody-else")


def test_replay_time_never_runs_past_the_next_event() -> None:
    wall = [0.0]
    clock = ReplayClock(1000, 2.0, lambda: wall[0])
    clock.start()
    clock.expect(5_000)
    assert (clock.now(), clock.wait_s(5_000)) == (1_000, 2e-6)
    wall[0] = 1e-6
    assert (clock.now(), clock.wait_s(5_000)) == (3_000, 1e-6)
    wall[0] = 60.0
    assert clock.now() == 5_000
    clock.reach(5_000)
    assert clock.now() == 5_000
    still = ReplayClock(1000, 0)
    still.expect(9_000)
    assert (still.now(), still.wait_s(9_000)) == (1000, 0.0)
    still.reach(9_000)
    assert still.now() == 9_000
