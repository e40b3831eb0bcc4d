"""The paper exchange: a Nautilus execution client that hosts the simulated exchange of backtests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from nautilus_trader.live import CancelAllOrders, CancelOrder, ExecutionClientConfig, ModifyOrder, SubmitOrder
from nautilus_trader.live.clients import ExecutionClient
from nautilus_trader.model import (
    AccountBalance,
    AccountId,
    AccountType,
    ClientOrderId,
    Currency,
    FillReport,
    LimitOrder,
    LiquiditySide,
    Money,
    OmsType,
    OrderBookDeltas,
    OrderSide,
    OrderStatusReport,
    PositionStatusReport,
    TradeId,
    TradeTick,
    Venue,
    VenueOrderId,
)

from market.contracts import Contract
from market.events import ASK, BID
from market.ledger import Ledger
from market.nautilus import Instrument
from venues.gateway import DirectGateway
from venues.simulation.exchange import SimulatedExchange


class PaperClientConfig(ExecutionClientConfig):
    """Of the paper venue; it has no settings of Nautilus' own."""


class PaperExchange(ExecutionClient):
    """Takes orders as a venue would: after a delay, post-only, in queues that the market works off.

    Parameters
    ----------
    exchange : SimulatedExchange
        With a queue model.
    contract : Contract
    balance : float
    now : callable
        The market's time, ns.
    is_paced : bool
        Time passes without events as well: what is due is done by the wall clock. Else (a replay) it
        is done before the next event.

    """

    def __init__(
        self,
        exchange: SimulatedExchange,
        contract: Contract,
        balance: float,
        now: Callable[[], int],
        *,
        is_paced: bool,
        **client: Any,
    ) -> None:
        super().__init__(
            venue=Venue(contract.exchange),
            account_id=AccountId(f"{contract.exchange}-PAPER"),
            account_type=AccountType.MARGIN,
            oms_type=OmsType.NETTING,
            **client,
        )
        assert exchange.matcher is not None
        self._exchange, self._matcher, self._units = exchange, exchange.matcher, exchange.instrument
        self._balance, self._now = balance, now
        self._currency = Currency.from_str(contract.terms.currency)
        self._is_paced = is_paced
        self._due: deque[tuple[int, SubmitOrder | ModifyOrder | CancelOrder]] = deque()
        self._ended: list[ClientOrderId] = []  # cancels whose interval is over
        self._open: dict[ClientOrderId, LimitOrder] = {}
        self._venue_ids: dict[ClientOrderId, VenueOrderId] = {}
        self._accepted = self._trades = 0
        self.received = 0
        self.told = 0
        """Events about orders that the strategy will hear of."""
        self.ledger = Ledger(contract.mark_value)
        self.failure: Exception | None = None

    async def _connect(self) -> None:
        money = Money(self._balance, self._currency)
        zero = Money(0, self._currency)
        self.generate_account_state([AccountBalance(money, zero, money)], [], True, self.clock.timestamp_ns())
        if self._is_paced:
            self.create_task(self._pace(), "paper venue")

    async def _disconnect(self) -> None:
        pass

    # ── the market ────────────────────────────────────────────────────────────────────────────

    def on_event(self, event: TradeTick | OrderBookDeltas) -> None:
        """The market moves; what arrived before that is done first."""
        try:
            self._work_off(event.ts_init)
            for place in self._exchange.see(event):
                lots = self._exchange.claim(place.key)
                if lots and isinstance(place.key, ClientOrderId):
                    self._fill(place.key, place.price, lots, event.ts_init)
            if not isinstance(event, TradeTick):  # a snapshot ends the interval that its trades came before
                self._ended = self._exchange.end_interval()
        except Exception as error:  # Nautilus would swallow it
            self.failure = self.failure or error

    async def _pace(self) -> None:
        while self.failure is None:
            try:
                self._work_off(self._now())
            except Exception as error:  # nobody else would hear of it; the next event raises it
                self.failure = error
            await asyncio.sleep(0.001)

    def _work_off(self, until_ns: int) -> None:
        """Cancels whose interval has ended, then commands that have arrived by now, in order.

        Whoever decides on a snapshot does not yet know that the cancels of its interval have taken
        effect: that is told after it, as in a backtest.
        """
        ended, self._ended = self._ended, []
        for key in ended:
            self._cancelled(key, until_ns)
        while self._due and self._due[0][0] <= until_ns:
            at, command = self._due.popleft()
            if isinstance(command, SubmitOrder):
                self._take(command, at)
            elif isinstance(command, ModifyOrder):
                self._modify(command, at)
            else:
                self._leave(command.client_order_id, at)

    # ── commands ──────────────────────────────────────────────────────────────────────────────

    async def _submit_order(self, command: SubmitOrder) -> None:
        order = self._order(command.client_order_id)
        self.generate_order_submitted(order)
        self._send(command)

    async def _modify_order(self, command: ModifyOrder) -> None:
        self._send(command)

    async def _cancel_order(self, command: CancelOrder) -> None:
        self._send(command)

    async def _cancel_all_orders(self, command: CancelAllOrders) -> None:
        for key in list(self._open):
            self._cancelled(key, self._now())

    def _order(self, key: ClientOrderId) -> LimitOrder:
        order: LimitOrder | None = self.cache.order(key)
        if order is None:
            raise RuntimeError(f"order {key} is not in the cache")
        return order

    def _send(self, command: SubmitOrder | ModifyOrder | CancelOrder) -> None:
        self.received += 1
        self._due.append((self._exchange.arrival_ns(self._now()), command))

    def _take(self, command: SubmitOrder, at: int) -> None:
        key = command.client_order_id
        order = self._order(key)
        side = BID if order.side == OrderSide.BUY else ASK
        price = self._units.ticks(order.price)
        if self._exchange.would_take(side, price):
            self._tell(self.generate_order_rejected, order, "POST_ONLY_WOULD_TAKE", at, True)
            return
        self._accepted += 1
        self._venue_ids[key] = VenueOrderId(f"P-{self._accepted}")
        self._open[key] = order
        self._tell(self.generate_order_accepted, order, self._venue_ids[key], at)
        self._exchange.rest(key, side, price, self._units.lots(order.quantity), at)

    def _modify(self, command: ModifyOrder, at: int) -> None:
        key = command.client_order_id
        place = self._matcher.get(key)
        if key not in self._open or place is None:
            return  # it has filled: the fill says so
        order = self._order(key)
        done = self._units.lots(order.quantity) - place.left
        if command.quantity is None:
            return
        left = self._units.lots(command.quantity) - done
        if left <= 0:
            self._leave(key, at)
            return
        self._exchange.resize(key, left)
        self._tell(
            self.generate_order_updated, order, self._venue_ids[key], command.quantity, order.price, None, None, at
        )

    def _leave(self, key: ClientOrderId, at: int) -> None:
        if key not in self._open:
            return
        if self._exchange.cancel(key, at):
            self._cancelled(key, at)

    def _cancelled(self, key: ClientOrderId, at: int) -> None:
        if self._open.pop(key, None) is None:
            return
        self._exchange.remove(key)
        self._tell(self.generate_order_canceled, self._order(key), self._venue_ids.pop(key), at)

    def _fill(self, key: ClientOrderId, price: int, lots: int, at: int) -> None:
        order = self._order(key)
        side = BID if order.side == OrderSide.BUY else ASK
        commission = Money(self._exchange.fees.charge(side, price, lots, is_maker=True), self._currency)
        self.ledger.on_fill(side, price, lots, commission.as_double())
        self._trades += 1
        venue_id = self._venue_ids[key]
        if self._matcher.get(key) is None:
            self._open.pop(key, None)
            del self._venue_ids[key]
        self._tell(
            self.generate_order_filled, order, venue_id, None, TradeId(f"P-{self._trades}"),
            self._units.quantity(lots), self._units.price(price),
            self._currency, commission, LiquiditySide.MAKER, at,
        )  # fmt: skip

    def _tell(self, generate: Callable[..., None], *arguments: object) -> None:
        self.told += 1
        generate(*arguments)

    # ── questions ─────────────────────────────────────────────────────────────────────────────

    async def _query_account(self, command: object) -> None:
        pass

    async def _query_order(self, command: object) -> None:
        pass

    async def _generate_order_status_report(self, command: object) -> None:
        return None

    async def _generate_order_status_reports(self, command: object) -> list[OrderStatusReport]:
        return []

    async def _generate_fill_reports(self, command: object) -> list[FillReport]:
        return []

    async def _generate_position_status_reports(self, command: object) -> list[PositionStatusReport]:
        return []


class PaperGateway(DirectGateway):
    """The direct way to a paper exchange on live data: the exchange sees each event before the maker does."""

    def __init__(self, instrument: Instrument, market: Callable[[TradeTick | OrderBookDeltas], None]) -> None:
        super().__init__(instrument)
        self._market = market

    def before_trade(self, trade: TradeTick) -> None:
        self._market(trade)

    def before_book(self, deltas: OrderBookDeltas) -> None:
        self._market(deltas)
