"""Bybit's v5 protocol in front of the matching engine: linear contracts, one account, one symbol.

REST and the three sockets (public, private, trade) stand on one port. Spelled as
https://bybit-exchange.github.io/docs/v5 has it, as far as a market maker needs it: instruments,
book and trade streams, order entry, amend, cancel and batches, order, execution, position and
wallet streams, server time, rate limits, error codes and the dead-man switch (DCP).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
import time
import urllib.parse
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from market.events import ASK, BID, BUY, BookUpdate, Event, Trade
from venues.loopback.engine import Execution, MatchingEngine, Order, OrderError, PublicTrade, Terms

_SIDES = {"Buy": BID, "Sell": ASK}
_NAMES = {BID: "Buy", ASK: "Sell"}
_MAX_BATCH = 20
_NS = 1_000_000_000
_encode = msgspec.json.encode


class Faults(msgspec.Struct):
    """What the exchange does wrong, on purpose. Times in seconds; counts are used up."""

    reject_creates: int = 0
    reject_amends: int = 0
    reject_cancels: int = 0
    reject_code: int = 10016
    ack_delay_s: float = 0.0
    drop_acks: int = 0
    """Commands that are carried out and never answered."""
    lose_commands: int = 0
    """Commands that get lost on their way."""
    private_delay_s: float = 0.0
    private_duplicate: bool = False
    private_shuffle: bool = False
    private_mute: bool = False
    """The socket stays up and nothing comes: half-open."""
    public_mute: bool = False
    public_delay_s: float = 0.0
    skip_public: int = 0
    """Book messages that get lost: a gap in the sequence."""
    duplicate_public: bool = False
    cross_book: bool = False
    one_sided: bool = False
    http_status: int = 0
    """Answer all REST calls with this status."""
    http_hang: bool = False
    banned: bool = False
    refuse_sockets: bool = False
    clock_skew_s: float = 0.0
    garbage: int = 0
    """Private messages that are no JSON."""


class _Stream:
    """One socket of a client."""

    def __init__(self, socket: web.WebSocketResponse, kind: str) -> None:
        self.socket, self.kind = socket, kind
        self.topics: set[str] = set()
        self.is_authorised = False
        self.shown: dict[int, dict[int, int]] = {}
        self.updates = 0


class LoopbackBybit:
    """The server. `engine` is open to whoever tests against it; `faults` to whoever breaks it.

    Parameters
    ----------
    terms : Terms
    key, secret : str
        The one account's credentials.
    cash : Decimal
    orders_per_s : int
        Rate limit of order commands.
    seed : int
        Of the faults' order.

    """

    def __init__(
        self, terms: Terms, key: str, secret: str, cash: Decimal, orders_per_s: int = 200, seed: int = 1
    ) -> None:
        self.terms, self.faults, self.orders_per_s = terms, Faults(), orders_per_s
        self._wall: Callable[[], int] = time.time_ns
        self.engine = MatchingEngine(terms, cash, self.now_ns)
        self._connect_engine()
        self._key, self._secret = key, secret
        self._rng = random.Random(seed)
        self._streams: list[_Stream] = []
        self._updates = 0
        self._commands: deque[int] = deque()
        self.dcp_window_s: float | None = None
        self._dcp_task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._private: deque[tuple[str, dict[str, Any]]] = deque()
        self._shuffled: list[tuple[str, dict[str, Any]]] = []
        self._trades: list[PublicTrade] = []
        self._in_order = asyncio.Lock()  # one command's messages do not overtake another's
        self.on_command: Callable[[str, int], None] = lambda _op, _at: None
        self.counts: dict[str, int] = {}
        self.leverage = "10"
        self._runner: web.AppRunner | None = None
        self._port = 0

    def _connect_engine(self) -> None:
        self.engine.on_order = self._order_changed
        self.engine.on_execution = self._executed
        self.engine.on_trade = self._traded

    def _traded(self, trade: PublicTrade) -> None:
        self._trades.append(trade)

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> None:
        """Listen; port 0 takes a free one."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close all sockets and the port."""
        await self.drop_sockets()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        for task in list(self._tasks):
            task.cancel()

    async def restart(self, down_s: float, lose_orders: bool) -> None:
        """Go away for a while and come back on the same port, with or without the open orders."""
        port = self._port
        await self.stop()
        if lose_orders:
            self.engine.forget_orders()
        await asyncio.sleep(down_s)
        await self.start(port)

    async def drop_sockets(self, kind: str | None = None) -> None:
        """Cut the connections of a kind (public, private, trade), or all."""
        for stream in [s for s in self._streams if kind is None or s.kind == kind]:
            transport = stream.socket._req.transport if stream.socket._req is not None else None
            if transport is not None:
                transport.abort()
            self._streams.remove(stream)

    def now_ns(self) -> int:
        """The exchange's clock."""
        return self._wall() + round(self.faults.clock_skew_s * 1e9)

    def _now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ── the market ────────────────────────────────────────────────────────────────────────────

    async def feed(self, event: Event) -> None:
        """One event of the background market; tell everybody what came of it."""
        if isinstance(event, BookUpdate):
            self.engine.update(event)
        elif isinstance(event, Trade):
            self.engine.trade(event)
        await self.flush()

    async def flush(self) -> None:
        """Send what has changed."""
        trades, self._trades = self._trades, []
        for stream in list(self._streams):
            if stream.kind == "public":
                await self._send_public(stream, trades)
        await self._send_private()

    async def _send_public(self, stream: _Stream, trades: list[PublicTrade]) -> None:
        if self.faults.public_mute:
            return
        if trades and (topic := f"publicTrade.{self.terms.symbol}") in stream.topics:
            rows = [
                {
                    "T": t.ts_ns // 1_000_000, "s": self.terms.symbol, "S": "Buy" if t.aggressor == BUY else "Sell",
                    "v": self._size(t.lots), "p": self._price(t.price), "L": "ZeroTick", "i": f"{t.seq:08x}-{i:04x}",
                    "BT": False, "RPI": False, "seq": t.seq,
                }
                for i, t in enumerate(trades)
            ]  # fmt: skip
            await self._send(stream, {"topic": topic, "type": "snapshot", "ts": self._now_ms(), "data": rows})
        for topic in sorted(t for t in stream.topics if t.startswith("orderbook.")):
            await self._send_book(stream, topic, "delta")

    async def _send_book(self, stream: _Stream, topic: str, kind: str) -> None:
        depth = int(topic.split(".")[1])
        changes: dict[int, list[list[str]]] = {}
        for side in (BID, ASK):
            new = self._shown(side, depth)
            old = {} if kind == "snapshot" else stream.shown.get(side, {})
            gone = [[self._price(p), "0"] for p in old if p not in new]
            changes[side] = gone + [[self._price(p), self._size(q)] for p, q in new.items() if old.get(p) != q]
            stream.shown[side] = new
        if kind == "delta" and not any(changes.values()):
            return
        stream.updates += 1
        if self.faults.skip_public > 0 and kind == "delta":
            self.faults.skip_public -= 1
            return
        data = {
            "s": self.terms.symbol,
            "b": changes[BID],
            "a": changes[ASK],
            "u": stream.updates,
            "seq": self.engine.seq,
        }
        message = {"topic": topic, "type": kind, "ts": self._now_ms(), "data": data, "cts": self._now_ms()}
        await self._send(stream, message)
        if self.faults.duplicate_public:
            await self._send(stream, message)

    def _shown(self, side: int, depth: int) -> dict[int, int]:
        levels = self.engine.top(side, depth)
        if self.faults.one_sided and side == ASK:
            return {}
        if self.faults.cross_book and side == BID and (ask := self.engine.best(ASK)) is not None:
            levels = {ask + 5: 7, **levels}
        return levels

    async def _send(self, stream: _Stream, message: dict[str, Any]) -> None:
        text = _encode(message).decode()
        if stream.kind == "public" and self.faults.public_delay_s:
            self._spawn(self._later(self.faults.public_delay_s, stream, text))
            return
        await self._write(stream, text)

    async def _later(self, delay_s: float, stream: _Stream, text: str) -> None:
        await asyncio.sleep(delay_s)
        await self._write(stream, text)

    @staticmethod
    async def _write(stream: _Stream, text: str) -> None:
        try:
            await stream.socket.send_str(text)
        except (ConnectionError, RuntimeError):  # it has gone: its reader will notice
            return

    # ── the account's streams ─────────────────────────────────────────────────────────────────

    def _order_changed(self, order: Order) -> None:
        self._private.append(("order", self.order_row(order)))

    def _executed(self, execution: Execution) -> None:
        self._private.append(("execution", self._execution_row(execution)))
        self._private.append(("position", self._position_row()))
        self._private.append(("wallet", self._wallet_row()))

    async def _send_private(self) -> None:
        async with self._in_order:
            await self._send_messages()

    async def _send_messages(self) -> None:
        messages = list(self._private)
        self._private.clear()
        if self.faults.private_mute:
            return
        if self.faults.private_shuffle:
            self._shuffled += messages
            if len(self._shuffled) < 4:
                return
            messages, self._shuffled = self._shuffled, []
            self._rng.shuffle(messages)
        elif self._shuffled:
            messages, self._shuffled = self._shuffled + messages, []
        for topic, row in messages:
            for _ in range(2 if self.faults.private_duplicate else 1):
                for stream in [s for s in self._streams if s.kind == "private" and topic in s.topics]:
                    text = _encode(
                        {"id": f"{self.engine.seq}", "topic": topic, "creationTime": self._now_ms(), "data": [row]}
                    ).decode()
                    if self.faults.garbage > 0:
                        self.faults.garbage -= 1
                        await self._write(stream, text[: len(text) // 2])
                    if self.faults.private_delay_s:
                        self._spawn(self._later(self.faults.private_delay_s, stream, text))
                    else:
                        await self._write(stream, text)

    def _price(self, ticks: int) -> str:
        return format(ticks * self.terms.tick, "f")

    def _size(self, lots: int) -> str:
        return format(lots * self.terms.lot, "f")

    def order_row(self, order: Order) -> dict[str, Any]:
        """An order as REST and stream spell it."""
        done = order.lots - order.left
        average = order.value / (done * self.terms.lot) if done else Decimal(0)
        return {
            "category": "linear", "symbol": self.terms.symbol, "orderId": order.order_id, "orderLinkId": order.link_id,
            "blockTradeId": "", "side": _NAMES[order.side], "positionIdx": 0, "orderStatus": order.status,
            "cancelType": order.cancel_type, "rejectReason": order.reason, "timeInForce": order.tif,
            "isLeverage": "", "price": self._price(order.price), "qty": self._size(order.lots),
            "avgPrice": f"{average:f}" if done else "", "leavesQty": self._size(order.left if order.is_open else 0),
            "leavesValue": format(order.left * order.price * self.terms.tick * self.terms.lot, "f"),
            "cumExecQty": self._size(done), "cumExecValue": format(order.value, "f"), "cumExecFee": format(order.fee, "f"),
            "orderType": order.kind, "stopOrderType": "", "orderIv": "", "triggerPrice": "", "takeProfit": "", "stopLoss": "",
            "triggerBy": "", "tpTriggerBy": "", "slTriggerBy": "", "triggerDirection": 0, "placeType": "", "tpslMode": "",
            "tpLimitPrice": "", "slLimitPrice": "", "lastPriceOnCreated": "", "reduceOnly": order.reduce_only,
            "closeOnTrigger": False, "smpType": "None", "smpGroup": 0, "smpOrderId": "", "feeCurrency": "", "closedPnl": "0",
            "createdTime": str(order.created_ns // 1_000_000), "updatedTime": str(order.updated_ns // 1_000_000),
            "createType": "CreateByUser", "ocoTriggerBy": "", "marketUnit": "",
        }  # fmt: skip

    def _execution_row(self, e: Execution) -> dict[str, Any]:
        value = e.price * self.terms.tick * e.lots * self.terms.lot
        return {
            "category": "linear", "symbol": self.terms.symbol, "execFee": format(e.fee, "f"), "execId": e.exec_id,
            "execPrice": self._price(e.price), "execQty": self._size(e.lots), "execType": "Trade",
            "execValue": format(value, "f"), "feeRate": format(self.terms.maker if e.is_maker else self.terms.taker, "f"),
            "tradeIv": "", "markIv": "", "blockTradeId": "", "markPrice": format(self.engine.mark, "f"), "indexPrice": "",
            "underlyingPrice": "", "leavesQty": self._size(e.left), "orderId": e.order_id, "orderLinkId": e.link_id,
            "orderPrice": self._price(e.order_price), "orderQty": self._size(e.order_lots), "orderType": "Limit",
            "stopOrderType": "UNKNOWN", "side": _NAMES[e.side], "execTime": str(e.ts_ns // 1_000_000), "isLeverage": "0",
            "isMaker": e.is_maker, "closedSize": "0", "seq": e.seq, "marketUnit": "", "createType": "CreateByUser",
            "execPnl": "0", "feeCurrency": self.terms.coin,
        }  # fmt: skip

    def _position_row(self) -> dict[str, Any]:
        engine, t = self.engine, self.terms
        size = abs(engine.position) * t.lot
        side = "Buy" if engine.position > 0 else "Sell" if engine.position < 0 else ""
        average = abs(engine.entry_value) / size if size else Decimal(0)
        unrealised = engine.position * t.lot * engine.mark - engine.entry_value
        return {
            "category": "linear", "positionIdx": 0, "tradeMode": 0, "riskId": 1, "riskLimitValue": "2000000",
            "symbol": t.symbol, "side": side, "size": format(size, "f"), "entryPrice": f"{average:.8f}",
            "avgPrice": f"{average:.8f}", "leverage": self.leverage, "positionValue": format(abs(engine.entry_value), "f"),
            "positionBalance": "0", "markPrice": format(engine.mark, "f"), "positionIM": "0", "positionMM": "0",
            "takeProfit": "0", "stopLoss": "0", "trailingStop": "0", "unrealisedPnl": f"{unrealised:.8f}",
            "curRealisedPnl": "0", "cumRealisedPnl": f"{engine.wallet - engine.start_cash:.8f}", "sessionAvgPrice": "0",
            "createdTime": "1700000000000", "updatedTime": str(self._now_ms()), "tpslMode": "Full", "liqPrice": "",
            "bustPrice": "", "positionStatus": "Normal", "adlRankIndicator": 0, "autoAddMargin": 0, "leverageSysUpdatedTime": "",
            "mmrSysUpdatedTime": "", "seq": engine.seq, "isReduceOnly": False, "breakEvenPrice": "",
        }  # fmt: skip

    def _wallet_row(self) -> dict[str, Any]:
        engine = self.engine
        unrealised = engine.position * self.terms.lot * engine.mark - engine.entry_value
        wallet, equity = f"{engine.wallet:.8f}", f"{engine.wallet + unrealised:.8f}"
        coin = {
            "coin": self.terms.coin, "equity": equity, "usdValue": equity, "walletBalance": wallet, "free": wallet,
            "locked": "0", "borrowAmount": "0", "availableToBorrow": "", "availableToWithdraw": wallet,
            "accruedInterest": "0", "totalOrderIM": "0", "totalPositionIM": "0", "totalPositionMM": "0",
            "unrealisedPnl": f"{unrealised:.8f}", "cumRealisedPnl": f"{engine.wallet - engine.start_cash:.8f}", "bonus": "0",
            "collateralSwitch": True, "marginCollateral": True, "spotHedgingQty": "0", "spotBorrow": "0",
        }  # fmt: skip
        return {
            "accountType": "UNIFIED", "accountIMRate": "0", "accountMMRate": "0", "totalEquity": equity,
            "totalWalletBalance": wallet, "totalMarginBalance": equity, "totalAvailableBalance": equity,
            "totalPerpUPL": f"{unrealised:.8f}", "totalInitialMargin": "0", "totalMaintenanceMargin": "0",
            "accountLTV": "0", "coin": [coin],
        }  # fmt: skip

    # ── requests ──────────────────────────────────────────────────────────────────────────────

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        path = "/" + request.match_info["path"]
        self.counts[path] = self.counts.get(path, 0) + 1
        if self.faults.http_hang:
            await asyncio.sleep(60)
        if self.faults.banned:
            return web.json_response({"retCode": 10010, "retMsg": "access too frequent"}, status=403)
        if self.faults.http_status:
            return web.Response(status=self.faults.http_status, text="")
        text = await request.text()
        given: dict[str, Any] = dict(request.query) if request.method == "GET" else msgspec.json.decode(text or "{}")
        code, message, result = 0, "OK", {}
        if not path.startswith(("/v5/market", "/v5/announcements")):
            code, message = self._check_signature(request, text)
        if not code:
            try:
                result = self._call(request.method, path, given)
            except OrderError as error:
                code, message = error.code, str(error)
            except (KeyError, ValueError, ArithmeticError) as error:
                code, message = 10001, f"Request parameter error: {error}"
        await self.flush()
        body = {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": self._now_ms()}
        return web.json_response(text=_encode(body).decode())

    def _check_signature(self, request: web.Request, body: str) -> tuple[int, str]:
        head = request.headers
        key, stamp = head.get("X-BAPI-API-KEY", ""), head.get("X-BAPI-TIMESTAMP", "0")
        window = head.get("X-BAPI-RECV-WINDOW", "5000")
        payload = body if request.method == "POST" else request.rel_url.raw_query_string
        if key != self._key:
            return 10003, "API key is invalid."
        plain = [payload, urllib.parse.unquote(payload)]
        if not any(
            hmac.compare_digest(self._sign(stamp + key + window + p), head.get("X-BAPI-SIGN", "")) for p in plain
        ):
            return 10004, "Error sign, please check your signature generation algorithm."
        if not -1000 <= self._now_ms() - int(stamp) <= int(window):
            return 10002, "invalid request, please check your server timestamp or recv_window param"
        return 0, "OK"

    def _sign(self, text: str) -> str:
        return hmac.new(self._secret.encode(), text.encode(), hashlib.sha256).hexdigest()

    def _call(self, method: str, path: str, given: dict[str, Any]) -> Any:
        orders = {"/v5/order/create": "create", "/v5/order/amend": "amend", "/v5/order/cancel": "cancel"}
        if path in orders:
            return self._command(orders[path], given)
        name = path.removeprefix("/v5/").replace("/", "_").replace("-", "_")
        handler = getattr(self, f"_rest_{name}", None)
        if handler is None:
            raise OrderError(10404, f"{method} {path}: not served by this exchange")
        return handler(given)

    def _page(self, rows: list[Any], given: dict[str, Any], default: int) -> dict[str, Any]:
        """One page of rows, newest first; the cursor is an offset."""
        start, limit = int(given.get("cursor") or 0), int(given.get("limit") or default)
        left = rows[start + limit :]
        cursor = str(start + limit) if left else ""
        return {"category": "linear", "list": rows[start : start + limit], "nextPageCursor": cursor}

    def _is_ours(self, given: dict[str, Any]) -> bool:
        symbol = given.get("symbol")
        return given.get("category", "linear") == "linear" and symbol in (None, "", self.terms.symbol)

    def _rest_market_time(self, given: dict[str, Any]) -> Any:
        now = self.now_ns()
        return {"timeSecond": str(now // _NS), "timeNano": str(now)}

    def _rest_market_instruments_info(self, given: dict[str, Any]) -> Any:
        t = self.terms
        row = {
            "symbol": t.symbol, "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": t.base,
            "quoteCoin": t.coin, "launchTime": "1584230400000", "deliveryTime": "0", "deliveryFeeRate": "",
            "priceScale": str(-int(t.tick.as_tuple().exponent)),
            "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
            "priceFilter": {"minPrice": str(t.tick), "maxPrice": "19999999.80", "tickSize": str(t.tick)},
            "lotSizeFilter": {
                "maxOrderQty": "100000.000", "minOrderQty": str(t.lot), "qtyStep": str(t.lot),
                "postOnlyMaxOrderQty": "100000.000", "maxMktOrderQty": "10000.000", "minNotionalValue": "0",
            },
            "unifiedMarginTrade": True, "fundingInterval": 480, "settleCoin": t.coin, "copyTrading": "none",
            "upperFundingRate": "0.00375", "lowerFundingRate": "-0.00375", "isPreListing": False, "preListingInfo": None,
            "displayName": "", "symbolType": "",
            "riskParameters": {"priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02"},
        }  # fmt: skip
        return self._page([row] if self._is_ours(given) else [], given, 500)

    def _rest_market_tickers(self, given: dict[str, Any]) -> Any:
        bid, ask = self.engine.best(BID) or 0, self.engine.best(ASK) or 0
        mark = format(self.engine.mark, "f")
        row = {
            "symbol": self.terms.symbol, "lastPrice": self._price(self.engine.last or bid), "indexPrice": mark,
            "markPrice": mark, "prevPrice24h": mark, "price24hPcnt": "0", "highPrice24h": mark, "lowPrice24h": mark,
            "prevPrice1h": mark, "openInterest": "0", "openInterestValue": "0", "turnover24h": "0", "volume24h": "0",
            "fundingRate": "0.0001", "nextFundingTime": "0", "predictedDeliveryPrice": "", "basisRate": "",
            "deliveryFeeRate": "", "deliveryTime": "0", "ask1Size": "0", "bid1Price": self._price(bid),
            "ask1Price": self._price(ask), "bid1Size": "0", "basis": "",
        }  # fmt: skip
        return {"category": "linear", "list": [row] if self._is_ours(given) else []}

    def _rest_market_orderbook(self, given: dict[str, Any]) -> Any:
        depth = int(given.get("limit") or 25)
        sides = {
            name: [[self._price(p), self._size(q)] for p, q in self._shown(side, depth).items()]
            for name, side in (("b", BID), ("a", ASK))
        }
        now = self._now_ms()
        return {"s": self.terms.symbol, **sides, "ts": now, "u": self._updates, "seq": self.engine.seq, "cts": now}

    def _rest_market_recent_trade(self, given: dict[str, Any]) -> Any:
        return {"category": "linear", "list": []}

    def _rest_account_fee_rate(self, given: dict[str, Any]) -> Any:
        row = {
            "symbol": self.terms.symbol, "baseCoin": "", "makerFeeRate": format(self.terms.maker, "f"),
            "takerFeeRate": format(self.terms.taker, "f"),
        }  # fmt: skip
        return {"category": "linear", "list": [row]}

    def _rest_account_wallet_balance(self, given: dict[str, Any]) -> Any:
        return {"list": [self._wallet_row()]}

    def _rest_account_info(self, given: dict[str, Any]) -> Any:
        return {
            "unifiedMarginStatus": 5, "marginMode": "REGULAR_MARGIN", "isMasterTrader": False, "spotHedgingStatus": "OFF",
            "updatedTime": str(self._now_ms()), "dcpStatus": "OFF" if self.dcp_window_s is None else "ON", "timeWindow": 0,
            "smpGroup": 0,
        }  # fmt: skip

    def _rest_user_query_api(self, given: dict[str, Any]) -> Any:
        return {
            "id": "1", "note": "", "apiKey": self._key, "readOnly": 0, "secret": "", "ips": ["*"], "type": 1,
            "permissions": {"ContractTrade": ["Order", "Position"], "Spot": [], "Wallet": [], "Options": [],
                            "Derivatives": ["DerivativesTrade"], "CopyTrading": [], "BlockTrade": [], "Exchange": [],
                            "NFT": [], "Affiliate": [], "Earn": [], "FiatP2P": [], "FiatBybitPay": [],
                            "FiatConvertBroker": [], "BitCard": [], "ByXPost": []},
            "deadlineDay": 90, "expiredAt": "2030-01-01T00:00:00Z", "createdAt": "2020-01-01T00:00:00Z", "unified": 0,
            "uta": 1, "userID": 1, "inviterID": 0, "vipLevel": "No VIP", "mktMakerLevel": "0", "affiliateID": 0,
            "rsaPublicKey": "", "isMaster": True, "parentUid": "0", "kycLevel": "LEVEL_DEFAULT", "kycRegion": "",
        }  # fmt: skip

    def _rest_position_list(self, given: dict[str, Any]) -> Any:
        return self._page([self._position_row()] if self._is_ours(given) else [], given, 20)

    def _rest_position_set_leverage(self, given: dict[str, Any]) -> Any:
        self.leverage = str(given["buyLeverage"])
        return {}

    def _rest_position_switch_mode(self, given: dict[str, Any]) -> Any:
        return {}

    def _rest_order_realtime(self, given: dict[str, Any]) -> Any:
        return self._orders(given, only_open=str(given.get("openOnly", "0")) == "0")

    def _rest_order_history(self, given: dict[str, Any]) -> Any:
        return self._orders(given, only_open=False)

    def _orders(self, given: dict[str, Any], only_open: bool) -> Any:
        if not self._is_ours(given):
            return self._page([], given, 20)
        if given.get("orderId") or given.get("orderLinkId"):
            found = self.engine.find(given.get("orderId"), given.get("orderLinkId"))
            return self._page([self.order_row(found)] if found else [], given, 20)
        pool = self.engine.open if only_open else self.engine.orders
        return self._page([self.order_row(o) for o in reversed(pool.values())], given, 20)

    def _rest_execution_list(self, given: dict[str, Any]) -> Any:
        if not self._is_ours(given):
            return self._page([], given, 50)
        first, last = int(given.get("startTime") or 0), int(given.get("endTime") or 1 << 62)
        rows = [
            self._execution_row(e)
            for e in reversed(self.engine.executions)
            if first <= e.ts_ns // 1_000_000 <= last
            and (not given.get("orderId") or e.order_id == given["orderId"])
            and (not given.get("orderLinkId") or e.link_id == given["orderLinkId"])
        ]
        return self._page(rows, given, 50)

    def _rest_order_cancel_all(self, given: dict[str, Any]) -> Any:
        self.on_command("cancel_all", self._wall())
        gone = self.engine.cancel_all() if self._is_ours(given) else []
        return {"list": [{"orderId": o.order_id, "orderLinkId": o.link_id} for o in gone], "success": "1"}

    def _rest_order_disconnected_cancel_all(self, given: dict[str, Any]) -> Any:
        window = int(given["timeWindow"])
        if not 3 <= window <= 300:
            raise OrderError(10001, "timeWindow: 3 to 300 seconds")
        self.dcp_window_s = float(window)
        return {}

    def _rest_order_create_batch(self, given: dict[str, Any]) -> Any:
        return self._batch("create", given)[0]

    def _rest_order_amend_batch(self, given: dict[str, Any]) -> Any:
        return self._batch("amend", given)[0]

    def _rest_order_cancel_batch(self, given: dict[str, Any]) -> Any:
        return self._batch("cancel", given)[0]

    # ── order commands ────────────────────────────────────────────────────────────────────────

    def _command(self, op: str, given: dict[str, Any]) -> dict[str, str]:
        """Carry out one command; the order's ids."""
        self.on_command(op, self._wall())
        self._check_rate(op)
        faults = self.faults
        field = f"reject_{op}s"
        if getattr(faults, field) > 0:
            setattr(faults, field, getattr(faults, field) - 1)
            raise OrderError(faults.reject_code, "Server error, please try again later.")
        if not self._is_ours(given):
            raise OrderError(10001, "params error: symbol invalid")
        if op == "create":
            price = given.get("price") if given.get("orderType") != "Market" else None
            tif = given.get("timeInForce") or ("GTC" if price else "IOC")
            order = self.engine.create(
                given.get("orderLinkId", ""), _SIDES[given["side"]],
                self._ticks(price) if price is not None else None, self._lots(given["qty"]), tif,
                bool(given.get("reduceOnly", False)),
            )  # fmt: skip
        else:
            known = self.engine.find(given.get("orderId"), given.get("orderLinkId"))
            if op == "amend":
                price, size = given.get("price"), given.get("qty")
                order = self.engine.amend(
                    known, self._ticks(price) if price else None, self._lots(size) if size else None
                )
            else:
                order = self.engine.cancel(known)
        return {"orderId": order.order_id, "orderLinkId": order.link_id}

    def _check_rate(self, op: str) -> None:
        now = self._wall()
        while self._commands and self._commands[0] < now - _NS:
            self._commands.popleft()
        if self.faults.banned or (len(self._commands) >= self.orders_per_s and op != "cancel"):
            raise OrderError(10006, "Too many visits. Exceeded the API Rate Limit.")
        self._commands.append(now)

    def _ticks(self, price: str) -> int:
        return self._whole(price, self.terms.tick, "price")

    def _lots(self, size: str) -> int:
        return self._whole(size, self.terms.lot, "qty")

    @staticmethod
    def _whole(text: str, step: Decimal, what: str) -> int:
        count = Decimal(str(text)) / step
        if count != int(count):
            raise OrderError(10001, f"{what} {text} is no multiple of {step}")
        return int(count)

    def _batch(self, op: str, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        rows, codes = [], []
        requests = given.get("request", [])
        if not 0 < len(requests) <= _MAX_BATCH:
            raise OrderError(10001, f"a batch holds 1 to {_MAX_BATCH} orders")
        for one in requests:
            row = {"category": "linear", "symbol": one.get("symbol", ""), "orderId": one.get("orderId", ""),
                   "orderLinkId": one.get("orderLinkId", ""), "createAt": str(self._now_ms())}  # fmt: skip
            try:
                row.update(self._command(op, {"category": given.get("category", "linear"), **one}))
                codes.append({"code": 0, "msg": "OK"})
            except OrderError as error:
                codes.append({"code": error.code, "msg": str(error)})
            rows.append(row)
        return {"list": rows}, {"list": codes}

    # ── sockets ───────────────────────────────────────────────────────────────────────────────

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if self.faults.refuse_sockets or self.faults.banned:
            return web.Response(status=403)
        socket = web.WebSocketResponse(max_msg_size=1 << 22)
        await socket.prepare(request)
        path = "/" + request.match_info["path"]
        kind = "public" if "public" in path else "trade" if "trade" in path else "private"
        stream = _Stream(socket, kind)
        self._streams.append(stream)
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    await self._message(stream, msgspec.json.decode(message.data))
        except (ConnectionError, msgspec.DecodeError):
            pass
        finally:
            if stream in self._streams:
                self._streams.remove(stream)
            if stream.kind == "private":
                self._arm_dcp()
        return socket

    async def _message(self, stream: _Stream, given: dict[str, Any]) -> None:
        op, request_id = given.get("op", ""), given.get("req_id", "")
        if op == "ping":
            pong = {"success": True, "ret_msg": "pong", "conn_id": "1", "req_id": request_id, "op": "ping"}
            muted = self.faults.private_mute if stream.kind == "private" else self.faults.public_mute
            if not muted or stream.kind == "trade":
                await self._write(stream, _encode(pong).decode())
        elif op == "auth":
            await self._authorise(stream, given)
        elif op in ("subscribe", "unsubscribe"):
            args = set(given.get("args", []))
            ok = stream.kind == "public" or stream.is_authorised
            if ok:
                stream.topics = stream.topics | args if op == "subscribe" else stream.topics - args
            answer = {"success": ok, "ret_msg": "", "conn_id": "1", "req_id": request_id, "op": op}
            await self._write(stream, _encode(answer).decode())
            if op == "subscribe" and ok:
                for topic in sorted(a for a in args if a.startswith("orderbook.")):
                    await self._send_book(stream, topic, "snapshot")
                if any(a.startswith("dcp") for a in args) and self._dcp_task is not None:
                    self._dcp_task.cancel()
        elif op.startswith("order."):
            await self._trade_message(stream, op, given)

    async def _authorise(self, stream: _Stream, given: dict[str, Any]) -> None:
        key, expires, signature = (*given.get("args", []), "", "", "")[:3]
        good = key == self._key and hmac.compare_digest(self._sign(f"GET/realtime{expires}"), str(signature))
        stream.is_authorised = good and int(expires or 0) > self._now_ms()
        if stream.kind == "trade":
            code = 0 if stream.is_authorised else 10004
            answer: dict[str, Any] = {
                "reqId": given.get("reqId", ""), "retCode": code, "retMsg": "OK" if not code else "Invalid sign",
                "op": "auth", "connId": "1",
            }  # fmt: skip
        else:
            answer = {
                "success": stream.is_authorised, "ret_msg": "", "op": "auth", "conn_id": "1",
                "req_id": given.get("req_id", ""),
            }  # fmt: skip
        await self._write(stream, _encode(answer).decode())

    async def _trade_message(self, stream: _Stream, op: str, given: dict[str, Any]) -> None:
        faults = self.faults
        if faults.lose_commands > 0:
            faults.lose_commands -= 1
            return
        data: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        code, text = 0, "OK"
        action, _, batch = op.removeprefix("order.").partition("-")
        arguments = (given.get("args") or [{}])[0]
        stamp = int(given.get("header", {}).get("X-BAPI-TIMESTAMP") or self._now_ms())
        window = int(given.get("header", {}).get("X-BAPI-RECV-WINDOW") or 5000)
        try:
            if not stream.is_authorised:
                raise OrderError(10003, "not authorised")
            if not -1000 <= self._now_ms() - stamp <= window:
                raise OrderError(10002, "invalid request, please check your server timestamp or recv_window param")
            if batch:
                data, extra = self._batch(action, arguments)
            else:
                data = dict(self._command(action, arguments))
        except OrderError as error:
            code, text = error.code, str(error)
        except (KeyError, ValueError, ArithmeticError) as error:
            code, text = 10001, f"Request parameter error: {error}"
        answer = {
            "reqId": given.get("reqId", ""), "retCode": code, "retMsg": text, "op": op, "data": data, "retExtInfo": extra,
            "header": {"X-Bapi-Limit": str(self.orders_per_s), "Timenow": str(self._now_ms())}, "connId": "1",
        }  # fmt: skip
        if faults.drop_acks > 0:
            faults.drop_acks -= 1
        elif faults.ack_delay_s:
            self._spawn(self._later(faults.ack_delay_s, stream, _encode(answer).decode()))
        else:
            await self._write(stream, _encode(answer).decode())
        await self.flush()

    # ── dead-man switch ───────────────────────────────────────────────────────────────────────

    def _arm_dcp(self) -> None:
        """The last private connection that asked for DCP is gone: cancel everything unless one comes back in time."""
        if self.dcp_window_s is None or any("dcp.future" in s.topics for s in self._streams):
            return
        if self._runner is None:
            return
        if self._dcp_task is not None:
            self._dcp_task.cancel()
        self._dcp_task = asyncio.ensure_future(self._dcp(self.dcp_window_s))

    async def _dcp(self, window_s: float) -> None:
        await asyncio.sleep(window_s)
        self.engine.cancel_all("CancelByDcp")
        await self.flush()
