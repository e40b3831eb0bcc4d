"""Nautilus' live node, configured for us."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nautilus_trader.common import Environment, LoggerConfig, LogLevel
from nautilus_trader.live import (
    LiveExecutionEngineConfig,
    LiveNode,
    LiveNodeBuilder,
    LiveNodeConfig,
    LiveNodeHandle,
    LiveRiskEngineConfig,
)
from nautilus_trader.live.clients import DataClientFactory, ExecutionClientFactory
from nautilus_trader.model import TraderId

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_NO_LIMIT = "10000000/00:00:01"  # our own limits decide


def make_builder(live: bool) -> LiveNodeBuilder:
    """A builder of nodes for one strategy.

    Nautilus' own reconciliation is off: it would invent fills and settle what it does not know by
    guessing (an order in flight that nobody answers for becomes a rejected one). Our store asks the
    venue itself, by trade id, and a command without an answer stays unknown.
    """
    config = LiveNodeConfig(
        environment=Environment.LIVE if live else Environment.SANDBOX,
        trader_id=TraderId("CMM-001"),
        logging=LoggerConfig(stdout_level=LogLevel.ERROR, is_colored=False),
        exec_engine=LiveExecutionEngineConfig(reconciliation=False, inflight_check_interval_ms=0),
        risk_engine=LiveRiskEngineConfig(max_order_submit_rate=_NO_LIMIT, max_order_modify_rate=_NO_LIMIT),
        timeout_connection_secs=20.0,
        timeout_disconnection_secs=2.0,
        delay_post_stop_secs=0.2,
        shutdown_on_error=True,
    )
    return LiveNodeBuilder.from_config("CMM", config)


def data_factory(make: Callable[..., Any]) -> DataClientFactory:
    """A factory that hands out a data client made by `make(name=, config=, cache=, clock=)`."""
    factory = DataClientFactory()
    factory.create = make  # type: ignore[method-assign]
    return factory


def execution_factory(make: Callable[..., Any]) -> ExecutionClientFactory:
    """The same for an execution client; `make` is given `trader_id` as well."""
    factory = ExecutionClientFactory()
    factory.create = make  # type: ignore[method-assign]
    return factory


class Stopper:
    """Stops a node: from a callback, on SIGTERM or SIGINT, or after a time."""

    def __init__(self, after_s: float | None = None) -> None:
        self._after_s = after_s
        self._handle: LiveNodeHandle | None = None  # a node itself must not be touched from another thread
        self.asked = threading.Event()
        self._on_signal: Callable[..., None] = self.stop

    def stop(self, *_: Any) -> None:
        """Ask the node to stop."""
        self.asked.set()
        if self._handle is not None:
            self._handle.stop()

    def bind(self, node: LiveNode | None) -> None:
        """The node that `stop` stops."""
        self._handle = node.handle() if node is not None else None

    def listen_again(self) -> None:
        """A running node has taken SIGINT for itself: take it back."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    @contextmanager
    def watch(self, node: LiveNode) -> Iterator[None]:
        """While the block runs, signals and the time stop the node."""
        self.bind(node)
        timer = threading.Timer(self._after_s, self.stop) if self._after_s else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            with self.signals():
                yield
        finally:
            if timer is not None:
                timer.cancel()
            self.bind(None)

    @contextmanager
    def signals(self, only_ask: bool = False) -> Iterator[None]:
        """While the block runs, SIGTERM and SIGINT stop the node.

        With `only_ask` they set `asked` and no more, and are ignored afterwards: the process is about to
        end with an exit code that says how it went.
        """

        def on_signal(*_: Any) -> None:
            if only_ask:
                self.asked.set()
            else:
                self.stop()

        self._on_signal = on_signal
        before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_IGN if only_ask else handler)
