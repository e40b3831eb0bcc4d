"""One assembly: maker, exchange and decider are built from a plan here and nowhere else."""

from __future__ import annotations

from engine.config import QuoterName
from engine.plan import Plan, TradingPlan
from market.errors import ConfigError
from market.ledger import Ledger
from market.nautilus import Instrument
from market.valuation import Valuation
from models.ensemble.predictor import Predictor
from strategies.decision import Decider
from strategies.feature_stream import FeatureStream
from strategies.maker import MarketMaker
from strategies.own_quoter import OwnQuoter
from strategies.quoters import (
    AvellanedaStoikovQuoter,
    CmmQuoter,
    FoicQuoter,
    GlftQuoter,
    LiicQuoter,
    LtiicQuoter,
    OurQuoter,
    Quoter,
)
from strategies.wiring import MakerConfig, Ports, Quoting
from venues.simulation.exchange import Decode, SimulatedExchange
from venues.simulation.latency import CommandPath
from venues.simulation.queues import make_queue


def make_predictor(run: Plan) -> Predictor | None:
    """The artifact of a run, recalibrating if the configuration says so; one serves consecutive days."""
    return Predictor(run.artifact, run.config.model.recalibrate) if run.artifact is not None else None


_OURS: dict[str, type[OurQuoter]] = {
    "cmm": CmmQuoter, "foic": FoicQuoter, "liic": LiicQuoter, "ltiic": LtiicQuoter, "as": AvellanedaStoikovQuoter,
    "glft": GlftQuoter,
}  # fmt: skip


def quoter_kind(quoter: QuoterName, sha256: str | None = None) -> type[OurQuoter] | OwnQuoter:
    """What a quoter asks for, before its parameters are known: ours by class, one of a user's own from its file.

    Raises
    ------
    QuoterError
        There is no such quoter in the file, or the file has not the content that is wanted.

    """
    return _OURS[quoter] if quoter in _OURS else OwnQuoter(quoter, sha256)


def make_quoter(run: Plan, break_even_ticks: float) -> Quoter:
    """The quoter that a run names."""
    s, kind = run.config.strategy, quoter_kind(run.quoter, run.quoter_sha256)
    if isinstance(kind, OwnQuoter):
        return kind
    if run.quoter == "cmm":
        return CmmQuoter(s.cmm, break_even_ticks)
    if issubclass(kind, FoicQuoter):
        return kind(s.offset)
    if run.intensity is None:
        raise ConfigError(f"quoter {run.quoter} needs intensities: set strategy.intensity.a and strategy.intensity.k")
    a, k = run.intensity
    if run.quoter == "as":
        return AvellanedaStoikovQuoter(s.intensity.gamma, k, s.intensity.remaining_s)
    return GlftQuoter(s.intensity.gamma, a, k)


def make_decider(run: Plan, break_even_ticks: float, value: Valuation) -> Decider:
    """What decides in every maker of the run, by itself: a journal's decisions are made again with it."""
    c = run.config
    quoter = make_quoter(run, break_even_ticks)
    return Decider(c.strategy.ladder, c.strategy.differ, c.limits, c.guard.model, quoter, value)


def make_stream(plan: TradingPlan, predictor: Predictor | None) -> FeatureStream:
    """The features that the artifact was trained on, else those of the configuration."""
    spec = predictor.manifest.spec if predictor is not None else plan.config.features
    return FeatureStream(Instrument(plan.contract, plan.depth), spec)


def make_exchange(plan: TradingPlan, decode: Decode | None = None) -> SimulatedExchange:
    """The simulated exchange of a backtest or paper run."""
    if plan.queue is None:
        raise ValueError("this plan trades at a real exchange")
    return SimulatedExchange(
        Instrument(plan.contract, plan.depth),
        make_queue(plan.queue, books_first=plan.books_first),
        CommandPath(plan.config.venue.latency, *plan.span),
        plan.make_fees(),
        snapshots=plan.snapshots,
        names_orders=plan.names_orders,
        decode=decode,
    )


def build_maker(
    plan: TradingPlan,
    predictor: Predictor | None,
    ports: Ports,
    stream: FeatureStream | None = None,
    ledger: Ledger | None = None,
) -> MarketMaker:
    """The maker of a plan.

    Parameters
    ----------
    plan : TradingPlan
    predictor : Predictor or None
        Of the plan's artifact.
    ports : Ports
    stream : FeatureStream, optional
        Where somebody else reads from it as well.
    ledger : Ledger, optional
        Position and money at the start.

    """
    config, contract = plan.config, plan.contract
    settings = MakerConfig(
        config.strategy.ladder,
        config.strategy.differ,
        config.limits,
        plan.guard,
        config.strategy.stop_before_close_s,
        plan.sessions,
        contract.mark_value,
        plan.answer_s,
    )
    quoter = make_quoter(plan.run, plan.break_even_ticks)
    quoting = Quoting(stream if stream is not None else make_stream(plan, predictor), quoter, predictor)
    return MarketMaker(settings, Instrument(contract, plan.depth), quoting, ports, ledger)
