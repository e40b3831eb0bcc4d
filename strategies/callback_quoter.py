"""How compiled code asks a quoter that only Python can: through a C callback, from within the loop.

Going back to Python and in again for each decision took forty times as long: numba looks at all arguments anew.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numba

from models.ensemble.predictor import Forecast
from strategies.own_quoter import SIGNATURE, Entry
from strategies.quoters import Quoter
from strategies.values import Market


class Asking:
    """The quoter that is being asked, what it said last, and what it raised."""

    def __init__(self, quoter: Quoter) -> None:
        self.quoter = quoter
        self.ask = math.nan
        self.failure: BaseException | None = None


_asking: list[Asking] = []  # the innermost last; C calls back without a word of for whom


@contextmanager
def asked_by_callback(quoter: Quoter) -> Iterator[Asking]:
    """As long as this lasts `callback_entry` leads to that quoter."""
    asking = Asking(quoter)
    _asking.append(asking)
    try:
        yield asking
    finally:
        _asking.remove(asking)


def _bid(*row: Any) -> float:
    *market, mid_change, spread, log_volume, confidence, inventory, limit = row
    asking, quoter = _asking[-1], _asking[-1].quoter
    try:
        forecast = Forecast(mid_change, spread, log_volume, confidence) if quoter.needs_forecast else None
        bid, asking.ask = quoter.best(Market(*market), forecast, inventory, limit)
        return bid
    except BaseException as error:  # C knows no exceptions: the loop comes back, and it is raised there
        asking.failure, asking.ask = error, math.nan
        return math.nan


def _ask() -> float:
    return _asking[-1].ask


_INT, _FLOAT = ctypes.c_int64, ctypes.c_double
_MARKET = (_INT, _INT, _FLOAT, _FLOAT, _FLOAT, _INT)
_BID = ctypes.CFUNCTYPE(_FLOAT, *_MARKET, *(_FLOAT,) * 4, _INT, _INT)(_bid)
_ASK = ctypes.CFUNCTYPE(_FLOAT)(_ask)


@cache
def callback_entry() -> Entry:
    """What compiled code calls; it gives nan where the quoter raised."""
    get_bid, get_ask = _BID, _ASK

    @numba.cfunc(SIGNATURE)
    def entry(market, forecast, inventory, limit):  # type: ignore[no-untyped-def]
        bid = get_bid(
            market.bid_ticks, market.ask_ticks, market.sigma_ticks, market.horizon_s, market.trend_ticks,
            market.regime, forecast.mid_change_ticks, forecast.spread_ticks, forecast.log_volume,
            forecast.confidence, inventory, limit,
        )  # fmt: skip
        return bid, get_ask()

    return Entry(entry)
