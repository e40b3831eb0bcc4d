"""Quoters: where the best bid and ask should stand. CMM's and the baselines, small classes of one shape.

A quoter turns market, forecast and inventory into a pair of best prices (in fractional ticks); the
ladder around them is built by the same code for all. `q` is the inventory over its limit, in [-1, 1].
"""

from __future__ import annotations

import math
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from models.ensemble.predictor import Forecast
from strategies.values import Market


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


class CmmQuoter:
    """Reservation price from forecast and inventory, half-spread from forecast spread, costs and confidence."""

    needs_forecast = True

    def __init__(self, config: CmmConfig, break_even_ticks: float) -> None:
        self._c = config
        self.charge(break_even_ticks)

    def charge(self, break_even_ticks: float) -> None:
        """From now on a fill costs this much, ticks."""
        self._cost = break_even_ticks + self._c.margin_ticks

    def best(self, market: Market, forecast: Forecast | None, inventory: int, limit: int) -> tuple[float, float]:
        assert forecast is not None
        c = self._c
        centre = market.mid_ticks + c.alpha * forecast.mid_change_ticks
        centre -= c.skew * market.sigma_ticks * inventory / limit
        half = max(
            0.5 * c.spread_share * forecast.spread_ticks, c.sigma_share * market.sigma_ticks, self._cost, c.floor_ticks
        )
        half *= 1.0 + c.widen * (1.0 - forecast.confidence)
        if market.regime == 2:
            half *= 1.0 + c.widen_volatile
        return centre - half, centre + half


class OffsetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Offset baselines (ticks): distance from mid, its slope in q, and the weight of the trend."""

    offset_ticks: float = 2.0
    inventory_ticks: float = 2.0
    trend_weight: float = 0.5


class FoicQuoter:
    """Fixed offset with inventory constraint: quotes at mid ± offset; a side at its limit is dropped.

    Source: Gašperov and Kostanjčar 2021; Niu et al. 2024 (arXiv 2308.08918).
    """

    needs_forecast = False

    def __init__(self, config: OffsetConfig) -> None:
        self._c = config

    def best(self, market: Market, forecast: Forecast | None, inventory: int, limit: int) -> tuple[float, float]:
        return market.mid_ticks - self._c.offset_ticks, market.mid_ticks + self._c.offset_ticks


class LiicQuoter(FoicQuoter):
    """Offsets linear in inventory: both quotes move against it. Source: as FOIC."""

    def best(self, market: Market, forecast: Forecast | None, inventory: int, limit: int) -> tuple[float, float]:
        bid, ask = super().best(market, forecast, inventory, limit)
        shift = self._c.inventory_ticks * inventory / limit
        return bid - shift, ask - shift


class LtiicQuoter(LiicQuoter):
    """Offsets linear in inventory and in a trend signal, the expert that IMM imitates. Source: as FOIC."""

    def best(self, market: Market, forecast: Forecast | None, inventory: int, limit: int) -> tuple[float, float]:
        bid, ask = super().best(market, forecast, inventory, limit)
        shift = self._c.trend_weight * market.trend_ticks
        return bid + shift, ask + shift


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


class AvellanedaStoikovQuoter:
    """Reservation price s − q γ σ² (T−t), spread γ σ² (T−t) + (2/γ) ln(1 + γ/k).

    Source: Avellaneda and Stoikov 2008, eqs. 29–30. q is the inventory in lots.
    """

    needs_forecast = False

    def __init__(self, gamma: float, k: float, remaining_s: float) -> None:
        self._gamma, self._remaining = gamma, remaining_s
        self._constant = math.log1p(gamma / k) / gamma

    def best(self, market: Market, forecast: Forecast | None, inventory: int, limit: int) -> tuple[float, float]:
        risk = self._gamma * market.sigma_ticks**2 / market.horizon_s * self._remaining
        centre = market.mid_ticks - inventory * risk
        half = 0.5 * risk + self._constant
        return centre - half, centre + half


class GlftQuoter:
    """Asymptotic optimal quotes: δ = (1/γ) ln(1 + γ/k) + (1 ± 2q)/2 · √(σ²γ/(2kA) (1 + γ/k)^(1 + k/γ)).

    Source: Guéant, Lehalle and Fernandez-Tapia 2013, section 4. q is the inventory in lots.
    """

    needs_forecast = False

    def __init__(self, gamma: float, a: float, k: float) -> None:
        self._constant = math.log1p(gamma / k) / gamma
        self._slope = math.sqrt(gamma / (2.0 * k * a) * (1.0 + gamma / k) ** (1.0 + k / gamma))

    def best(self, market: Market, forecast: Forecast | None, inventory: int, limit: int) -> tuple[float, float]:
        slope = self._slope * market.sigma_ticks / math.sqrt(market.horizon_s)
        bid = market.mid_ticks - self._constant - 0.5 * (1 + 2 * inventory) * slope
        ask = market.mid_ticks + self._constant + 0.5 * (1 - 2 * inventory) * slope
        return bid, ask
