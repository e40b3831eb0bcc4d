"""The account client of Bybit v5 (linear contracts).

Source: https://bybit-exchange.github.io/docs/v5 (market, order, position, account, DCP).
"""

from __future__ import annotations

import time
from decimal import Decimal, InvalidOperation
from typing import Literal

import msgspec

from market.contracts import Contract
from market.events import ASK, BID
from venues.live.account_client import AccountClientError, RestingOrder, VenueFill, VenuePosition, VenueTerms
from venues.live.bybit_rest import BybitRest, Page
from venues.live.server_clock import best_offset

FLATTEN = "FLAT-"
"""How client ids of orders that close a position begin."""

_WEEK_MS = 7 * 86_400_000 - 1000
_SIDES = {"Buy": BID, "Sell": ASK}
_SIGNS = {"Buy": 1, "Sell": -1}

# ── what the venue answers, as far as it is read ──────────────────────────────────────────────


class _Time(msgspec.Struct, rename="camel"):
    time_nano: int


class _PriceFilter(msgspec.Struct, rename="camel"):
    tick_size: Decimal


class _LotSizeFilter(msgspec.Struct, rename="camel"):
    qty_step: Decimal


class _Instrument(msgspec.Struct, rename="camel"):
    price_filter: _PriceFilter
    lot_size_filter: _LotSizeFilter
    status: str


class _Fees(msgspec.Struct, rename="camel"):
    maker_fee_rate: Decimal
    taker_fee_rate: Decimal


class _Coin(msgspec.Struct, rename="camel"):
    coin: str
    wallet_balance: str


class _Wallet(msgspec.Struct):
    coin: list[_Coin]


class _Book(msgspec.Struct):
    b: list[tuple[Decimal, Decimal]]
    a: list[tuple[Decimal, Decimal]]


class _Order(msgspec.Struct, rename="camel"):
    order_id: str
    order_link_id: str
    side: Literal["Buy", "Sell"]
    price: Decimal
    leaves_qty: Decimal


class _Position(msgspec.Struct, rename="camel"):
    symbol: str
    side: Literal["Buy", "Sell", ""]
    size: Decimal
    mark_price: str


class _Execution(msgspec.Struct, rename="camel"):
    exec_id: str
    order_link_id: str
    side: Literal["Buy", "Sell"]
    exec_price: Decimal
    exec_qty: Decimal
    is_maker: bool
    exec_fee: Decimal
    exec_time: int


class BybitAccountClient:
    """An `AccountClient` of Bybit.

    Parameters
    ----------
    contract : Contract
        A linear contract of Bybit.
    key, secret : str
        Held in memory only.
    base_url : str
        REST's, e.g. https://api-testnet.bybit.com.
    timeout_s : float
        Of each call.

    """

    def __init__(self, contract: Contract, key: str, secret: str, base_url: str, timeout_s: float = 3.0) -> None:
        self._contract, self._rest = contract, BybitRest(base_url, key, secret, timeout_s)
        self._symbol = contract.symbol.removesuffix("-LINEAR")
        self._query = {"category": "linear", "symbol": self._symbol}

    def __repr__(self) -> str:
        return f"BybitAccountClient({self._contract.id}, {self._rest.base_url})"

    async def clock_offset_ms(self) -> float:
        tries = []
        for _ in range(3):
            sent = time.time()
            answer = await self._rest.get("/v5/market/time", {}, _Time, signed=False)
            tries.append((sent, answer.time_nano / 1e9, time.time()))
        return 1e3 * best_offset(tries).offset_s

    async def terms(self) -> VenueTerms:
        path = "/v5/market/instruments-info"
        rows = (await self._rest.get(path, self._query, Page[_Instrument], signed=False)).rows
        if not rows:
            raise AccountClientError(f"{self._contract.id}: the venue does not list it")
        return VenueTerms(rows[0].price_filter.tick_size, rows[0].lot_size_filter.qty_step, rows[0].status)

    async def fees(self) -> tuple[Decimal, Decimal]:
        rows = (await self._rest.get("/v5/account/fee-rate", self._query, Page[_Fees])).rows
        if not rows:
            raise AccountClientError(f"{self._contract.id}: the venue names no fees")
        return rows[0].maker_fee_rate, rows[0].taker_fee_rate

    async def balance(self) -> Decimal:
        currency = self._contract.terms.currency
        query = {"accountType": "UNIFIED", "coin": currency}
        wallets = (await self._rest.get("/v5/account/wallet-balance", query, Page[_Wallet])).rows
        for row in (coin for wallet in wallets for coin in wallet.coin):
            if row.coin == currency:
                return _number(row.wallet_balance, f"balance of {currency}")
        return Decimal(0)

    async def mid_ticks(self) -> float | None:
        book = await self._rest.get("/v5/market/orderbook", {**self._query, "limit": "1"}, _Book, signed=False)
        if not book.b or not book.a:
            return None
        bid, ask = self._ticks(book.b[0][0]), self._ticks(book.a[0][0])
        return 0.5 * (bid + ask) if bid < ask else None

    async def open_orders(self) -> list[RestingOrder]:
        rows = await self._rest.pages("/v5/order/realtime", {**self._query, "openOnly": "0"}, Page[_Order])
        return [
            RestingOrder(
                row.order_id, row.order_link_id, _SIDES[row.side], self._ticks(row.price), self._lots(row.leaves_qty)
            )
            for row in rows
        ]

    async def position_lots(self) -> int:
        rows = await self._rest.pages("/v5/position/list", self._query, Page[_Position])
        return sum(self._lots(row.size) * _SIGNS[row.side] for row in rows if row.side)

    async def positions(self) -> list[VenuePosition]:
        query = {"category": "linear", "settleCoin": self._contract.terms.currency}
        found = []
        for row in await self._rest.pages("/v5/position/list", query, Page[_Position]):
            if row.side:
                size = _SIGNS[row.side] * row.size
                mark = _number(row.mark_price, f"mark price of {row.symbol}")
                found.append(VenuePosition(row.symbol, size, size * mark))
        return found

    async def fills(self, since_ns: int) -> list[VenueFill]:
        start, now = since_ns // 1_000_000, time.time_ns() // 1_000_000 + 60_000
        found: list[VenueFill] = []
        while start <= now:  # the venue looks back over seven days at a time
            span = {"startTime": str(start), "endTime": str(min(start + _WEEK_MS, now)), "limit": "100"}
            rows = await self._rest.pages("/v5/execution/list", {**self._query, **span}, Page[_Execution])
            found += [self._fill(row) for row in rows]
            start += _WEEK_MS + 1
        return sorted(found, key=lambda fill: (fill.ts_ns, fill.trade_id))

    async def cancel_all(self) -> None:
        await self._rest.post("/v5/order/cancel-all", {**self._query})

    async def set_dead_man(self, window_s: int) -> None:
        body: dict[str, object] = {"timeWindow": window_s, "product": "DERIVATIVES"}
        await self._rest.post("/v5/order/disconnected-cancel-all", body)

    async def flatten(self, lots: int, limit: int) -> None:
        terms = self._contract.terms
        await self._rest.post(
            "/v5/order/create",
            {
                **self._query, "side": "Sell" if lots > 0 else "Buy", "orderType": "Limit",
                "qty": format(abs(lots) * terms.lot, "f"), "price": format(limit * terms.tick, "f"),
                "timeInForce": "IOC", "reduceOnly": True, "orderLinkId": f"{FLATTEN}{time.time_ns()}",
            },
        )  # fmt: skip

    async def close(self) -> None:
        await self._rest.close()

    def _fill(self, row: _Execution) -> VenueFill:
        return VenueFill(
            row.exec_id, row.order_link_id, _SIDES[row.side], self._ticks(row.exec_price), self._lots(row.exec_qty),
            row.is_maker, row.exec_fee, row.exec_time * 1_000_000,
        )  # fmt: skip

    def _ticks(self, price: Decimal) -> int:
        return int(price / self._contract.terms.tick)

    def _lots(self, size: Decimal) -> int:
        return int(size / self._contract.terms.lot)


def _number(text: str, what: str) -> Decimal:
    """A number that the venue leaves empty where it has nothing to say."""
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise AccountClientError(f"{what}: the venue says {text!r}, no number") from error
