"""Prometheus metrics of all traders that the monitor hears."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.monitor.hub import Hub
from engine.monitor.watched import BUCKETS_S, Watched

CONTENT_TYPE = CONTENT_TYPE_LATEST
_WHO = ["instrument", "mode"]
_UNKNOWN = float("nan")
type _Rows = list[tuple[tuple[str, str], Watched]]


class _Traders(Collector):
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "cmm_monitor_garbage", "Datagrams that could not be read as reports.", value=self._hub.garbage
        )
        rows = list(self._hub.newest().items())
        yield _gauge(
            "cmm_up",
            "1 while the trader is alive and reports.",
            rows,
            lambda w: w.status not in ("dead", "silent", "stopped"),
        )
        yield _gauge(
            "cmm_quoting",
            "1 while the trader has orders at the venue or on their way.",
            rows,
            lambda w: bool(w.frame.orders),
        )
        yield _gauge("cmm_halted", "1 while the trader is halted.", rows, lambda w: bool(w.frame.halted))
        yield _gauge("cmm_position_lots", "Net position.", rows, lambda w: w.frame.position)
        yield _gauge("cmm_working_orders", "Orders that may rest at the venue.", rows, lambda w: len(w.frame.orders))
        yield _gauge(
            "cmm_budget_used_ratio", "Share of the day's loss limits used.", rows, lambda w: w.frame.budget_used
        )
        yield _gauge("cmm_frame_age_seconds", "Seconds since the last report.", rows, _age)
        yield _gauge(
            "cmm_confidence_ratio",
            "Agreement of the students on the mid change.",
            rows,
            lambda w: w.frame.forecast[3] if w.frame.forecast else _UNKNOWN,
        )
        yield _gauge(
            "cmm_forecast_correlation",
            "Correlation of the forecast with the actual mid change.",
            rows,
            lambda w: w.skill().get("correlation", _UNKNOWN),
        )
        yield _gauge(
            "cmm_forecast_bias_ticks",
            "Mean of forecast minus actual mid change.",
            rows,
            lambda w: w.skill().get("bias", _UNKNOWN),
        )
        model = GaugeMetricFamily("cmm_model", "1 for the artifact that trades.", labels=[*_WHO, "artifact_hash"])
        for pair, watched in rows:
            model.add_metric([*pair, watched.about.artifact_hash or ""], 1.0)
        drift = GaugeMetricFamily(
            "cmm_model_drift", "1 while the model that trades no longer fits in this way.", labels=[*_WHO, "kind"]
        )
        shadow = GaugeMetricFamily(
            "cmm_shadow_outcomes",
            "Forecasts of the artifact in the shadow whose outcome is known.",
            labels=[*_WHO, "artifact_hash"],
        )
        worse = GaugeMetricFamily(
            "cmm_shadow_excess_sigmas",
            "Squared error of the shadow minus that of the artifact that trades, in standard errors.",
            labels=[*_WHO, "artifact_hash"],
        )
        for pair, watched in rows:
            for kind in ("feature_drift", "calibration_drift"):
                drift.add_metric([*pair, kind], float(kind in watched.frame.drifts))
            trial = watched.frame.trial
            if trial is not None:
                shadow.add_metric([*pair, trial.shadow.hash], trial.mid.outcomes)
                worse.add_metric([*pair, trial.shadow.hash], _UNKNOWN if trial.mid.z is None else trial.mid.z)
        pnl = GaugeMetricFamily(
            "cmm_pnl",
            "PnL since the start, by component; total = captured (spread) + inventory - fees.",
            labels=[*_WHO, "currency", "component"],
        )
        actions = CounterMetricFamily("cmm_order_actions", "Order actions.", labels=[*_WHO, "kind"])
        bound = CounterMetricFamily(
            "cmm_limit_bound", "Order actions that a limit cut or refused.", labels=[*_WHO, "limit"]
        )
        events = CounterMetricFamily(
            "cmm_events", "Other events: fills, rejections, pulled quotes, model faults …", labels=[*_WHO, "event"]
        )
        alarms = CounterMetricFamily("cmm_alarms", "Alarms raised.", labels=[*_WHO, "kind"])
        lost = CounterMetricFamily("cmm_frames_lost", "Reports that did not arrive.", labels=_WHO)
        times = HistogramMetricFamily(
            "cmm_decision_seconds",
            "Time from book update to order actions, of the decisions in the reports.",
            labels=_WHO,
        )
        for (instrument, mode), watched in rows:
            who = [instrument, mode]
            for name in ("total", "captured", "inventory", "fees", "day"):
                pnl.add_metric([*who, watched.about.currency, name], getattr(watched.frame.pnl, name))
            for name, count in sorted(watched.frame.counts.items()):
                if name.startswith("action_"):
                    actions.add_metric([*who, name.removeprefix("action_")], count)
                elif name.startswith("bound_"):
                    bound.add_metric([*who, name.removeprefix("bound_")], count)
                else:
                    events.add_metric([*who, name], count)
            for kind, count in sorted(watched.alarm_counts.items()):
                alarms.add_metric([*who, kind], count)
            lost.add_metric(who, watched.lost)
            total, buckets = 0, []
            for edge, count in zip((*map(str, BUCKETS_S), "+Inf"), watched.buckets, strict=True):
                total += count
                buckets.append((edge, float(total)))
            times.add_metric(who, buckets, watched.time_sum_s)
        yield from (model, drift, shadow, worse, pnl, actions, bound, events, alarms, lost, times)


def _age(watched: Watched) -> float:
    return time.monotonic() - watched.heard


def _gauge(name: str, text: str, rows: _Rows, value: Callable[[Watched], float]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, text, labels=_WHO)
    for who, watched in rows:
        gauge.add_metric(list(who), float(value(watched)))
    return gauge


def render(hub: Hub) -> bytes:
    """All metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Traders(hub))
    text: bytes = generate_latest(registry)
    return text
