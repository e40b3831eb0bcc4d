"""What a maker is made of: its settings, what quotes are made from, and what it is connected to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from market.valuation import PLAIN, Valuation
from models.ensemble.predictor import Predictor
from strategies.clock import MakerClock
from strategies.differ import DifferConfig
from strategies.feature_stream import FeatureStream
from strategies.fill_policy import FillPolicy
from strategies.gateway import OrderGateway
from strategies.guard import GuardConfig
from strategies.ladder import LadderConfig
from strategies.limits import LimitsConfig
from strategies.observer import Observer
from strategies.quoters import Quoter
from strategies.subscription import Subscription


class MakerConfig(msgspec.Struct, frozen=True):
    """How the maker behaves, besides its quoter.

    Parameters
    ----------
    ladder, differ, limits, guard : config
    stop_before_close_s : float
        Quotes are pulled this long before a session ends.
    sessions : list[tuple[int, int]]
        (open, close) in ns; outside them nothing is quoted.
    mark_value : Valuation
        Value of one lot held long at a price in ticks (up to a constant), settlement currency.
    answer_s : float, optional
        A command that the venue has not answered for so long stops trading: what became of the order
        is unknown. None in a simulation, where every command is answered.

    """

    ladder: LadderConfig
    differ: DifferConfig
    limits: LimitsConfig
    guard: GuardConfig
    stop_before_close_s: float
    sessions: list[tuple[int, int]]
    mark_value: Valuation = PLAIN
    answer_s: float | None = None


class Quoting(NamedTuple):
    """What quotes are made from; a quoter that needs no forecast leaves the predictor alone."""

    stream: FeatureStream
    quoter: Quoter
    predictor: Predictor | None = None


class Timer(NamedTuple):
    """Something to do on the trading thread every so many ns: as long as it is done, trading lives."""

    every_ns: int
    call: Callable[[], None]


class Ports(NamedTuple):
    """What the maker is connected to: the exchange, time, market data, and whoever watches."""

    gateway: OrderGateway
    clock: MakerClock
    fills: FillPolicy
    data: Subscription
    observer: Observer
    timer: Timer | None = None
