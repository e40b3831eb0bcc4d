"""REST: one table of routes, and what each answers.

Source: https://bybit-exchange.github.io/docs/v5 (market, order, position, account, user).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from aiohttp import web

from venues.loopback import views
from venues.loopback.auth import Credentials, is_public
from venues.loopback.commands import BatchRow, Commands, Listed, OrderIds
from venues.loopback.dead_man import DeadMan
from venues.loopback.errors import UNDERSTOOD, Refusal, as_refusal
from venues.loopback.exchange import NS_PER_MS, Exchange
from venues.loopback.market_rows import AccountInfo, BookRow, FeeRow, InstrumentRow, KeyInfo, TickerRow
from venues.loopback.orders import Order
from venues.loopback.requests import (
    CATEGORY,
    AmendRequest,
    BatchRequest,
    CancelRequest,
    CreateRequest,
    DeadManRequest,
    ExecutionListRequest,
    LeverageRequest,
    OrderListRequest,
    OrderRequest,
    PagedRequest,
    Request,
    from_json,
    from_query,
)
from venues.loopback.rows import ExecutionRow, OrderRow, PositionRow, WalletRow

_HANG_S = 60.0
_NS = 1_000_000_000
_FOR_EVER_MS = 1 << 62


class Nothing(msgspec.Struct):
    """An answer without content."""


class ServerTime(msgspec.Struct, rename="camel"):
    time_second: str
    time_nano: str


class Rows[T](msgspec.Struct, kw_only=True):
    """A list of one category."""

    category: str = CATEGORY
    rows: list[T] = msgspec.field(name="list")


class Page[T](Rows[T], rename="camel", kw_only=True):
    """A part of a list, newest first, and where the next one starts."""

    next_page_cursor: str


class Cancelled(msgspec.Struct):
    """What cancel-all took out."""

    orders: list[OrderIds] = msgspec.field(name="list")
    success: str = "1"


class Envelope(msgspec.Struct, rename="camel"):
    """Every answer."""

    ret_code: int
    ret_msg: str
    result: object
    ret_ext_info: Nothing
    time: int


class Route(NamedTuple):
    """Who answers a path: by which method it is asked, and how a query and a body are read and answered."""

    method: str
    answer: Callable[[Mapping[str, str], str], msgspec.Struct]


def _get[T](kind: type[T], answer: Callable[[T], msgspec.Struct]) -> Route:
    return Route("GET", lambda query, _: answer(from_query(query, kind)))


def _post[T](kind: type[T], answer: Callable[[T], msgspec.Struct]) -> Route:
    return Route("POST", lambda _, body: answer(from_json(body, kind)))


class Rest:
    """Answers REST requests.

    Parameters
    ----------
    exchange : Exchange
    credentials : Credentials
    commands : Commands
    dead_man : DeadMan
    flush : callable
        Tells everybody what has changed.

    """

    def __init__(
        self, exchange: Exchange, credentials: Credentials, commands: Commands, dead_man: DeadMan,
        flush: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._exchange, self._credentials, self._flush = exchange, credentials, flush
        self._commands, self._dead_man = commands, dead_man
        self._routes: dict[str, Route] = {
            "/v5/market/time": _get(Request, self._time),
            "/v5/market/instruments-info": _get(PagedRequest, self._instruments),
            "/v5/market/tickers": _get(Request, self._tickers),
            "/v5/market/orderbook": _get(PagedRequest, self._book),
            "/v5/market/recent-trade": _get(Request, self._recent_trades),
            "/v5/account/fee-rate": _get(Request, self._fees),
            "/v5/account/wallet-balance": _get(Request, self._wallet),
            "/v5/account/info": _get(Request, self._account),
            "/v5/user/query-api": _get(Request, self._key),
            "/v5/position/list": _get(PagedRequest, self._positions),
            "/v5/position/set-leverage": _post(LeverageRequest, self._set_leverage),
            "/v5/position/switch-mode": _post(Request, self._switch_mode),
            "/v5/order/realtime": _get(OrderListRequest, self._realtime),
            "/v5/order/history": _get(OrderListRequest, self._history),
            "/v5/execution/list": _get(ExecutionListRequest, self._executions),
            "/v5/order/create": _post(CreateRequest, commands.run),
            "/v5/order/amend": _post(AmendRequest, commands.run),
            "/v5/order/cancel": _post(CancelRequest, commands.run),
            "/v5/order/create-batch": _post(BatchRequest[CreateRequest], self._batch),
            "/v5/order/amend-batch": _post(BatchRequest[AmendRequest], self._batch),
            "/v5/order/cancel-batch": _post(BatchRequest[CancelRequest], self._batch),
            "/v5/order/cancel-all": _post(Request, self._cancel_all),
            "/v5/order/disconnected-cancel-all": _post(DeadManRequest, self._set_dead_man),
        }

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, and tell everybody what came of it."""
        faults = self._exchange.faults
        if faults.http_hang:
            await asyncio.sleep(_HANG_S)
        if faults.banned:
            banned = {"retCode": Refusal.BANNED.code, "retMsg": Refusal.BANNED.text}
            return web.json_response(banned, status=403)
        if faults.http_status:
            return web.Response(status=faults.http_status, text="")
        body = await request.text()
        envelope = Envelope(0, "OK", Nothing(), Nothing(), 0)
        try:
            envelope.result = self._call(request, body)
        except UNDERSTOOD as error:
            refused = as_refusal(error)
            envelope.ret_code, envelope.ret_msg = refused.code, str(refused)
        await self._flush()
        envelope.time = self._exchange.now_ms()
        return web.json_response(text=msgspec.json.encode(envelope).decode())

    def _call(self, request: web.Request, body: str) -> msgspec.Struct:
        if not is_public(request.path):
            self._credentials.check_rest(request, body, self._exchange.now_ms())
        route = self._routes.get(request.path)
        if route is None or route.method != request.method:
            raise Refusal.NOT_SERVED.error(what=f"{request.method} {request.path}")
        return route.answer(request.query, body)

    # ── market ────────────────────────────────────────────────────────────────────────────────

    def _time(self, _: Request) -> ServerTime:
        now = self._exchange.now_ns()
        return ServerTime(str(now // _NS), str(now))

    def _instruments(self, request: PagedRequest) -> Page[InstrumentRow]:
        rows = [views.instrument(self._exchange.terms)] if self._exchange.is_ours(request) else []
        return _page(rows, request, 500)

    def _tickers(self, request: Request) -> Rows[TickerRow]:
        return Rows(rows=[views.ticker(self._exchange)] if self._exchange.is_ours(request) else [])

    def _book(self, request: PagedRequest) -> BookRow:
        return views.book(self._exchange, request.limit or 25)

    def _recent_trades(self, _: Request) -> Rows[Nothing]:
        return Rows(rows=[])

    # ── account ───────────────────────────────────────────────────────────────────────────────

    def _fees(self, _: Request) -> Rows[FeeRow]:
        return Rows(rows=[views.fees(self._exchange.terms)])

    def _wallet(self, _: Request) -> Listed[WalletRow]:
        return Listed([views.wallet(self._exchange)])

    def _account(self, _: Request) -> AccountInfo:
        return views.account_info(self._exchange, has_dead_man=self._dead_man.window_s is not None)

    def _key(self, _: Request) -> KeyInfo:
        return views.key_info(self._credentials.key)

    def _positions(self, request: PagedRequest) -> Page[PositionRow]:
        return _page([views.position(self._exchange)] if self._exchange.is_ours(request) else [], request, 20)

    def _set_leverage(self, request: LeverageRequest) -> Nothing:
        self._exchange.leverage = str(request.buy_leverage)
        return Nothing()

    def _switch_mode(self, _: Request) -> Nothing:
        return Nothing()

    # ── orders ────────────────────────────────────────────────────────────────────────────────

    def _realtime(self, request: OrderListRequest) -> Page[OrderRow]:
        return self._orders(request, self._exchange.engine.orders if request.open_only else self._exchange.engine.open)

    def _history(self, request: OrderListRequest) -> Page[OrderRow]:
        return self._orders(request, self._exchange.engine.orders)

    def _orders(self, request: OrderListRequest, pool: dict[str, Order]) -> Page[OrderRow]:
        exchange = self._exchange
        if not exchange.is_ours(request):
            found: list[Order] = []
        elif request.order_id or request.order_link_id:
            one = exchange.engine.find(request.order_id, request.order_link_id)
            found = [one] if one is not None else []
        else:
            found = list(reversed(pool.values()))
        return _page([views.order(exchange, order) for order in found], request, 20)

    def _executions(self, request: ExecutionListRequest) -> Page[ExecutionRow]:
        exchange = self._exchange
        first, last = request.start_time or 0, request.end_time or _FOR_EVER_MS
        rows = [
            views.execution(exchange, e)
            for e in reversed(exchange.engine.account.executions)
            if first <= e.ts_ns // NS_PER_MS <= last
            and request.order_id in (None, e.order_id)
            and request.order_link_id in (None, e.link_id)
        ]
        return _page(rows if exchange.is_ours(request) else [], request, 50)

    def _batch[T: OrderRequest](self, request: BatchRequest[T]) -> Listed[BatchRow]:
        return self._commands.run_batch(request)[0]

    def _cancel_all(self, request: Request) -> Cancelled:
        self._exchange.on_command("cancel_all", self._exchange.wall())
        gone = self._exchange.engine.cancel_all() if self._exchange.is_ours(request) else []
        return Cancelled([OrderIds(order.order_id, order.link_id) for order in gone])

    def _set_dead_man(self, request: DeadManRequest) -> Nothing:
        self._dead_man.set_window(request.time_window)
        return Nothing()


def _page[T](rows: Sequence[T], request: PagedRequest, limit: int) -> Page[T]:
    """One page of rows, newest first; the cursor is an offset."""
    start, limit = request.cursor or 0, request.limit or limit
    is_last = start + limit >= len(rows)
    return Page(rows=list(rows[start : start + limit]), next_page_cursor="" if is_last else str(start + limit))
