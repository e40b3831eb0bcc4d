"""The account client of Bybit v5 (linear contracts): signed REST, and the lifeline that its dead man's switch watches.

Source: https://bybit-exchange.github.io/docs/v5 (authentication, order, position, account, DCP).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec

from market.contracts import Contract
from market.events import ASK, BID
from venues.live.account_client import AccountClientError, RestingOrder, VenueFill, VenuePosition, VenueTerms

FLATTEN = "FLAT-"
"""How client ids of orders that close a position begin."""

_WINDOW_MS = 5000
_WEEK_MS = 7 * 86_400_000 - 1000
_PING_S = 10.0
_SIDES = {"Buy": BID, "Sell": ASK}


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
        self._contract, self._key, self._secret, self._base = contract, key, secret, base_url
        self._symbol = contract.symbol.removesuffix("-LINEAR")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"BybitAccountClient({self._contract.id}, {self._base})"

    async def clock_offset_ms(self) -> float:
        best: tuple[float, float] | None = None
        for _ in range(3):
            sent = time.time()
            answer = await self._get("/v5/market/time", {}, signed=False)
            back = time.time()
            offset = int(answer["timeNano"]) / 1e9 - 0.5 * (sent + back)
            if best is None or back - sent < best[0]:
                best = (back - sent, offset)
        assert best is not None
        return 1e3 * best[1]

    async def terms(self) -> VenueTerms:
        query = {"category": "linear", "symbol": self._symbol}
        rows = (await self._get("/v5/market/instruments-info", query, signed=False))["list"]
        if not rows:
            raise AccountClientError(f"{self._contract.id}: the venue does not list it")
        row = rows[0]
        return VenueTerms(
            Decimal(row["priceFilter"]["tickSize"]), Decimal(row["lotSizeFilter"]["qtyStep"]), row["status"]
        )

    async def fees(self) -> tuple[Decimal, Decimal]:
        rows = (await self._get("/v5/account/fee-rate", {"category": "linear", "symbol": self._symbol}))["list"]
        return Decimal(rows[0]["makerFeeRate"]), Decimal(rows[0]["takerFeeRate"])

    async def balance(self) -> Decimal:
        coin = self._contract.terms.currency
        rows = (await self._get("/v5/account/wallet-balance", {"accountType": "UNIFIED", "coin": coin}))["list"]
        for row in rows[0]["coin"]:
            if row["coin"] == coin:
                return Decimal(row["walletBalance"])
        return Decimal(0)

    async def mid_ticks(self) -> float:
        book = await self._get(
            "/v5/market/orderbook", {"category": "linear", "symbol": self._symbol, "limit": "1"}, signed=False
        )
        if not book["b"] or not book["a"]:
            raise AccountClientError(f"{self._contract.id}: the venue shows no two-sided book")
        return 0.5 * (self._ticks(book["b"][0][0]) + self._ticks(book["a"][0][0]))

    async def open_orders(self) -> list[RestingOrder]:
        rows = await self._pages("/v5/order/realtime", {"category": "linear", "symbol": self._symbol, "openOnly": "0"})
        return [
            RestingOrder(
                row["orderId"], row["orderLinkId"], _SIDES[row["side"]], self._ticks(row["price"]),
                self._lots(row["leavesQty"]),
            )
            for row in rows
        ]  # fmt: skip

    async def position_lots(self) -> int:
        rows = await self._pages("/v5/position/list", {"category": "linear", "symbol": self._symbol})
        return sum(self._lots(row["size"]) * (1 if row["side"] == "Buy" else -1) for row in rows if row["side"])

    async def positions(self) -> list[VenuePosition]:
        query = {"category": "linear", "settleCoin": self._contract.terms.currency}
        found = []
        for row in await self._pages("/v5/position/list", query):
            if row["side"]:
                sign = 1 if row["side"] == "Buy" else -1
                size, mark = Decimal(row["size"]), Decimal(row["markPrice"])
                found.append(VenuePosition(row["symbol"], sign * size, sign * size * mark))
        return found

    async def fills(self, since_ns: int) -> list[VenueFill]:
        start, now, found = since_ns // 1_000_000, time.time_ns() // 1_000_000 + 60_000, []
        while start <= now:  # the venue looks back over seven days at a time
            query = {
                "category": "linear", "symbol": self._symbol, "startTime": str(start),
                "endTime": str(min(start + _WEEK_MS, now)), "limit": "100",
            }  # fmt: skip
            found += [self._fill(row) for row in await self._pages("/v5/execution/list", query)]
            start += _WEEK_MS + 1
        return sorted(found, key=lambda fill: (fill.ts_ns, fill.trade_id))

    async def cancel_all(self) -> None:
        await self._post("/v5/order/cancel-all", {"category": "linear", "symbol": self._symbol})

    async def set_dead_man(self, window_s: int) -> None:
        await self._post("/v5/order/disconnected-cancel-all", {"timeWindow": window_s, "product": "DERIVATIVES"})

    async def flatten(self, lots: int, limit: int) -> None:
        await self._post(
            "/v5/order/create",
            {
                "category": "linear", "symbol": self._symbol, "side": "Sell" if lots > 0 else "Buy",
                "orderType": "Limit", "qty": format(abs(lots) * self._contract.terms.lot, "f"),
                "price": format(limit * self._contract.terms.tick, "f"), "timeInForce": "IOC", "reduceOnly": True,
                "orderLinkId": f"{FLATTEN}{time.time_ns()}",
            },
        )  # fmt: skip

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ── requests ──────────────────────────────────────────────────────────────────────────────

    def _fill(self, row: dict[str, Any]) -> VenueFill:
        return VenueFill(
            row["execId"], row["orderLinkId"], _SIDES[row["side"]], self._ticks(row["execPrice"]),
            self._lots(row["execQty"]), bool(row["isMaker"]), Decimal(row["execFee"]), int(row["execTime"]) * 1_000_000,
        )  # fmt: skip

    def _ticks(self, price: str) -> int:
        return int(Decimal(price) / self._contract.terms.tick)

    def _lots(self, size: str) -> int:
        return int(Decimal(size) / self._contract.terms.lot)

    async def _pages(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        cursor = ""
        while True:
            result = await self._get(path, {**query, **({"cursor": cursor} if cursor else {})})
            rows += result["list"]
            cursor = result.get("nextPageCursor") or ""
            if not cursor or not result["list"]:
                return rows

    async def _get(self, path: str, query: dict[str, str], signed: bool = True) -> Any:
        text = urlencode(query)
        return await self._ask("GET", f"{path}?{text}" if text else path, text, None, signed)

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        text = msgspec.json.encode(body).decode()
        return await self._ask("POST", path, text, text, True)

    async def _ask(self, method: str, path: str, payload: str, body: str | None, signed: bool) -> Any:
        headers = {"Content-Type": "application/json"}
        if signed:
            stamp = str(time.time_ns() // 1_000_000)
            headers |= {
                "X-BAPI-API-KEY": self._key, "X-BAPI-TIMESTAMP": stamp, "X-BAPI-RECV-WINDOW": str(_WINDOW_MS),
                "X-BAPI-SIGN": sign(self._secret, f"{stamp}{self._key}{_WINDOW_MS}{payload}"),
            }  # fmt: skip
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        where = f"{method} {self._base}{path.partition('?')[0]}"
        try:
            async with self._session.request(method, self._base + path, data=body, headers=headers) as answer:
                text = await answer.text()
                if answer.status != 200:
                    raise AccountClientError(f"{where}: HTTP status {answer.status}")
        except TimeoutError as error:
            raise AccountClientError(f"{where}: no answer in time") from error
        except aiohttp.ClientError as error:
            raise AccountClientError(f"{where}: {error or type(error).__name__}") from error
        try:
            given = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise AccountClientError(f"{where}: the answer is no JSON") from error
        if given.get("retCode") != 0:
            raise AccountClientError(f"{where}: {given.get('retCode')} {given.get('retMsg')}")
        return given["result"]


def sign(secret: str, text: str) -> str:
    """Bybit's signature: HMAC-SHA256 in hexadecimal."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


async def lifeline(url: str, key: str, secret: str, on_state: Callable[[bool], None]) -> None:
    """Hold a private stream that the dead man's switch watches, for ever; say when it is up and when down.

    The stream carries our executions too: a copy that the trading connection has no part in.
    """
    while True:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(
                    f"{url}/v5/private", heartbeat=None, timeout=aiohttp.ClientWSTimeout(ws_close=1.0)
                ) as socket,
            ):
                expires = time.time_ns() // 1_000_000 + 10_000
                await socket.send_json({"op": "auth", "args": [key, expires, sign(secret, f"GET/realtime{expires}")]})
                await socket.send_json({"op": "subscribe", "args": ["dcp.future"]})
                on_state(True)
                while True:
                    await socket.send_json({"op": "ping"})
                    deadline = time.monotonic() + _PING_S
                    answered = False
                    while (left := deadline - time.monotonic()) > 0:
                        try:
                            message = await socket.receive(timeout=left)
                        except TimeoutError:
                            break
                        if message.type != aiohttp.WSMsgType.TEXT:
                            raise ConnectionError("closed")
                        answered = True
                    if not answered:
                        raise ConnectionError("no pong")
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            on_state(False)
            await asyncio.sleep(0.5)
