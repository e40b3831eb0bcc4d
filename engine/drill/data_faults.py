"""Faults of the public data that a drill makes: the trader has to say what is wrong, stay away, and come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from engine.drill.attempt import Try

_SEEN_S = 2.5  # until the trader says what is wrong: a lag begins with as long a silence
_PULLED_S = 1.0
_MARGIN_S = 3.0  # beyond healthy_s: a snapshot may have to be asked for
_ALARM_S = 3.0


def bad_data(problem: str, seconds: float, flicker_s: float = 0.0, **changes: Any) -> Callable[[Try], Awaitable[None]]:
    """A fault of the public data that lasts a while, and what has to be seen of it.

    Parameters
    ----------
    problem : str
        What the trader has to say of it.
    seconds : float
        How long it lasts.
    flicker_s : float
        It comes and goes every so long; 0 where it stays.
    changes
        Of the exchange's `Faults`.

    """

    async def fault(t: Try) -> None:
        usual = {name: getattr(t.exchange.faults, name) for name in changes}
        began = time.monotonic()
        making = asyncio.create_task(_make(t, changes, usual, seconds, flicker_s))
        try:
            await _stays_away(t, problem, making)
        finally:
            await making
        healthy_s = t.config.guard.data.healthy_s
        if not t.has_ended() and not await t.quoting(healthy_s + _MARGIN_S):
            t.fail(f"{problem}: no quotes {healthy_s + _MARGIN_S:g} s after it: {t.tail()}")
        await _is_told(t, problem, began)

    return fault


async def _make(t: Try, changes: dict[str, Any], usual: dict[str, Any], seconds: float, flicker_s: float) -> None:
    end, is_on = time.monotonic() + seconds, True
    while time.monotonic() < end and not t.has_ended():
        for name, value in (changes if is_on else usual).items():
            setattr(t.exchange.faults, name, value)
        await t.exchange.flush()
        await asyncio.sleep(flicker_s or end - time.monotonic())
        is_on = not is_on
    for name, value in usual.items():
        setattr(t.exchange.faults, name, value)
    await t.exchange.flush()


async def _stays_away(t: Try, problem: str, making: asyncio.Task[None]) -> None:
    """Until the fault is over: the trader says what is wrong, has pulled its quotes and places no others."""
    engine = t.exchange.engine

    def says() -> bool:
        beat = t.state.heartbeat()
        return beat is not None and beat.problem == problem

    if not await t.until(says, _SEEN_S):
        beat = t.state.heartbeat()
        t.fail(f"the trader does not say {problem}, but {beat.problem if beat is not None else None!r}")
    if not await t.until(lambda: not engine.open, _PULLED_S):
        t.fail(f"{problem}: {len(engine.open)} orders still rest")
    placed = len(engine.orders)
    await t.until(making.done, _SEEN_S + 60.0)
    if len(engine.orders) > placed:
        t.fail(f"{problem}: {len(engine.orders) - placed} orders were placed while it lasted")


async def _is_told(t: Try, problem: str, began: float) -> None:
    """One alarm that it lasts, one that all is well again, and none that the venue is unreachable."""

    def told(kind: str) -> list[str]:
        return [alarm["text"] for at, alarm in t.alarms if at >= began and alarm["kind"] == kind]

    await t.until(lambda: bool(told("market_data_well")) or t.has_ended(), _ALARM_S)
    lasts, well = told("market_data"), told("market_data_well")
    if len(lasts) != 1 or len(well) != 1 or problem not in lasts[0]:
        t.fail(f"{problem}: one alarm and one that all is well were to come; they are {lasts} and {well}")
    if told("venue_unreachable"):
        t.fail(f"{problem}: the alarm venue_unreachable, and the venue answered all the time")
