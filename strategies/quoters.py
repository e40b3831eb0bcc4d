"""Quoters: where the best bid and ask should stand. CMM's and the baselines, small functions of one shape.

A quoter turns market, forecast and inventory into a pair of best prices (in fractional ticks); the
ladder around them is built by the same code for all. `q` is the inventory over its limit, in [-1, 1].
Ours are compiled functions over their parameters; one of a user's own is any class with `best`.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Annotated, Any, ClassVar, Protocol

import msgspec
import numpy as np
from msgspec import Meta

from market.compiled import inlined
from market.records import row, state_of
from models.ensemble.predictor import Forecast
from strategies.values import FORECAST, MARKET, Market


class Quoter(Protocol):
    """Anything that can say where to quote."""

    needs_forecast: bool

    def best(self, market: Market, forecast: Forecast | None, inventory: int, limit: int) -> tuple[float, float]:
        """Best bid and ask wanted, in ticks."""


class CmmConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """CMM's quoter.

    Parameters
    ----------
    alpha : float
        Share of the forecast mid change that moves the centre.
    skew : float
        κ in sigmas of the mid over the horizon, at full inventory.
    spread_share : float
        Half-spread as a share of half the forecast spread.
    sigma_share : float
        Half-spread as a share of the sigma of the mid over the horizon, if larger.
    margin_ticks : float
        Added to the fee break-even.
    floor_ticks : float
        Smallest half-spread.
    widen : float
        The half-spread grows by this share as confidence falls from 1 to 0.
    widen_volatile : float
        And by this share in the volatile regime.

    """

    alpha: float = 1.0
    skew: float = 1.0
    spread_share: float = 1.0
    sigma_share: float = 0.5
    margin_ticks: float = 0.0
    floor_ticks: float = 0.5
    widen: float = 0.5
    widen_volatile: float = 0.25


class OffsetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Offset baselines (ticks): distance from mid, its slope in q, and the weight of the trend."""

    offset_ticks: float = 2.0
    inventory_ticks: float = 2.0
    trend_weight: float = 0.5


class IntensityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of the optimal-control baselines.

    Parameters
    ----------
    gamma : float
        Risk aversion, 1/tick.
    a, k : float or None
        Arrival intensity A exp(-k δ) of orders that reach δ ticks from mid, A in 1/s and k in
        1/tick; None is fitted on earlier days.
    remaining_s : float
        Avellaneda–Stoikov's T − t, held constant: a session has no natural end to hedge towards.

    """

    gamma: Annotated[float, Meta(gt=0)] = 0.01
    a: Annotated[float, Meta(gt=0)] | None = None
    k: Annotated[float, Meta(gt=0)] | None = None
    remaining_s: Annotated[float, Meta(gt=0)] = 60.0


class QuoterKind(IntEnum):
    """Our quoters, as compiled functions number them."""

    CMM = 0
    FOIC = 1
    LIIC = 2
    LTIIC = 3
    AS = 4
    GLFT = 5


QUOTER = np.dtype(
    [
        ("kind", np.int64),
        *((name, np.float64) for name in CmmConfig.__struct_fields__),
        ("cost", np.float64),
        *((name, np.float64) for name in OffsetConfig.__struct_fields__),
        ("gamma", np.float64), ("remaining_s", np.float64), ("constant", np.float64), ("slope", np.float64),
    ]
)  # fmt: skip
"""Kind and parameters; each kind reads its own: those of its configuration, and what follows from them.

`cost` is a maker's round trip and margin, ticks; `constant` the half-spread at no risk and `slope` what GLFT's
formula multiplies by the sigma, both of the optimal-control baselines.
"""


@inlined
def cmm_best(quoter: Any, market: Any, forecast: Any, inventory: int, limit: int) -> tuple[float, float]:
    """Reservation price from forecast and inventory, half-spread from forecast spread, costs and confidence."""
    centre = 0.5 * (market.bid_ticks + market.ask_ticks) + quoter.alpha * forecast.mid_change_ticks
    centre -= quoter.skew * market.sigma_ticks * inventory / limit
    half = 0.5 * quoter.spread_share * forecast.spread_ticks
    for least in (quoter.sigma_share * market.sigma_ticks, quoter.cost, quoter.floor_ticks):
        half = max(half, least)
    half *= 1.0 + quoter.widen * (1.0 - forecast.confidence)
    if market.regime == 2:
        half *= 1.0 + quoter.widen_volatile
    return centre - half, centre + half


@inlined
def foic_best(quoter: Any, market: Any) -> tuple[float, float]:
    """Fixed offset with inventory constraint: quotes at mid ± offset; a side at its limit is dropped.

    Source: Gašperov and Kostanjčar 2021; Niu et al. 2024 (arXiv 2308.08918).
    """
    mid = 0.5 * (market.bid_ticks + market.ask_ticks)
    return mid - quoter.offset_ticks, mid + quoter.offset_ticks


@inlined
def liic_best(quoter: Any, market: Any, inventory: int, limit: int) -> tuple[float, float]:
    """Offsets linear in inventory: both quotes move against it. Source: as FOIC."""
    bid, ask = foic_best(quoter, market)
    shift = quoter.inventory_ticks * inventory / limit
    return bid - shift, ask - shift


@inlined
def ltiic_best(quoter: Any, market: Any, inventory: int, limit: int) -> tuple[float, float]:
    """Offsets linear in inventory and in a trend signal, the expert that IMM imitates. Source: as FOIC."""
    bid, ask = liic_best(quoter, market, inventory, limit)
    shift = quoter.trend_weight * market.trend_ticks
    return bid + shift, ask + shift


@inlined
def as_best(quoter: Any, market: Any, inventory: int) -> tuple[float, float]:
    """Reservation price s − q γ σ² (T−t), spread γ σ² (T−t) + (2/γ) ln(1 + γ/k).

    Source: Avellaneda and Stoikov 2008, eqs. 29–30. q is the inventory in lots.
    """
    risk = quoter.gamma * (market.sigma_ticks * market.sigma_ticks) / market.horizon_s * quoter.remaining_s
    centre = 0.5 * (market.bid_ticks + market.ask_ticks) - inventory * risk
    half = 0.5 * risk + quoter.constant
    return centre - half, centre + half


@inlined
def glft_best(quoter: Any, market: Any, inventory: int) -> tuple[float, float]:
    """Asymptotic optimal quotes: δ = (1/γ) ln(1 + γ/k) + (1 ± 2q)/2 · √(σ²γ/(2kA) (1 + γ/k)^(1 + k/γ)).

    Source: Guéant, Lehalle and Fernandez-Tapia 2013, section 4. q is the inventory in lots.
    """
    mid = 0.5 * (market.bid_ticks + market.ask_ticks)
    slope = quoter.slope * market.sigma_ticks / math.sqrt(market.horizon_s)
    bid = mid - quoter.constant - 0.5 * (1 + 2 * inventory) * slope
    ask = mid + quoter.constant + 0.5 * (1 - 2 * inventory) * slope
    return bid, ask


_CMM, _FOIC, _LIIC, _LTIIC, _AS = (int(kind) for kind in list(QuoterKind)[:5])


@inlined
def quote(quoter: Any, market: Any, forecast: Any, inventory: int, limit: int) -> tuple[float, float]:
    """Best bid and ask wanted by the quoter of a record, in ticks."""
    quoter, market, forecast = row(quoter), row(market), row(forecast)
    if quoter.kind == _CMM:
        return cmm_best(quoter, market, forecast, inventory, limit)
    if quoter.kind == _FOIC:
        return foic_best(quoter, market)
    if quoter.kind == _LIIC:
        return liic_best(quoter, market, inventory, limit)
    if quoter.kind == _LTIIC:
        return ltiic_best(quoter, market, inventory, limit)
    if quoter.kind == _AS:
        return as_best(quoter, market, inventory)
    return glft_best(quoter, market, inventory)


class OurQuoter:
    """What our quoters share: a record of parameters, and the compiled function that reads it."""

    needs_forecast = False
    looks_at_costs = False
    sha256: str | None = None
    """Of a file; ours stand in none."""
    kind: ClassVar[QuoterKind]

    def __init__(self, **parameters: float) -> None:
        self.state = state_of(QUOTER, kind=self.kind, **parameters)

    def best(self, market: Market, forecast: Forecast | None, inventory: int, limit: int) -> tuple[float, float]:
        """Best bid and ask wanted, in ticks."""
        assert forecast is not None or not self.needs_forecast
        seen, coming = np.array([market], MARKET), np.array([forecast or _UNKNOWN], FORECAST)
        return quote(self.state, seen, coming, inventory, limit)


class CmmQuoter(OurQuoter):
    """CMM's own, see `cmm_best`."""

    needs_forecast = True
    looks_at_costs = True
    kind = QuoterKind.CMM

    def __init__(self, config: CmmConfig, break_even_ticks: float) -> None:
        super().__init__(**msgspec.structs.asdict(config))
        self._margin = config.margin_ticks
        self.charge(break_even_ticks)

    def charge(self, break_even_ticks: float) -> None:
        """From now on a fill costs this much, ticks."""
        self.state["cost"] = break_even_ticks + self._margin

    @property
    def least_half_ticks(self) -> float:
        """The half-spread that costs and floor leave at least: all that fees do to the quotes."""
        return float(max(self.state["cost"][0], self.state["floor_ticks"][0]))


class FoicQuoter(OurQuoter):
    """Fixed offset with inventory constraint, see `foic_best`."""

    kind = QuoterKind.FOIC

    def __init__(self, config: OffsetConfig) -> None:
        super().__init__(**msgspec.structs.asdict(config))


class LiicQuoter(FoicQuoter):
    """Offsets linear in inventory, see `liic_best`."""

    kind = QuoterKind.LIIC


class LtiicQuoter(FoicQuoter):
    """Offsets linear in inventory and trend, see `ltiic_best`."""

    kind = QuoterKind.LTIIC


class AvellanedaStoikovQuoter(OurQuoter):
    """Avellaneda and Stoikov's, see `as_best`."""

    kind = QuoterKind.AS

    def __init__(self, gamma: float, k: float, remaining_s: float) -> None:
        super().__init__(gamma=gamma, remaining_s=remaining_s, constant=math.log1p(gamma / k) / gamma)


class GlftQuoter(OurQuoter):
    """Guéant, Lehalle and Fernandez-Tapia's, see `glft_best`."""

    kind = QuoterKind.GLFT

    def __init__(self, gamma: float, a: float, k: float) -> None:
        slope = math.sqrt(gamma / (2.0 * k * a) * (1.0 + gamma / k) ** (1.0 + k / gamma))
        super().__init__(constant=math.log1p(gamma / k) / gamma, slope=slope)


def state_of_quoter(quoter: Quoter) -> Any | None:
    """The QUOTER by which compiled code quotes as this quoter does; None where only Python can: it is another's, or
    one of ours with a `best` of its own."""
    if isinstance(quoter, OurQuoter) and type(quoter).best is OurQuoter.best:
        return quoter.state
    return None


_UNKNOWN = (math.nan,) * len(Forecast._fields)
