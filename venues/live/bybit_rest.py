"""Bybit v5 over REST: signed requests, typed answers, and one error for whatever goes wrong.

Nautilus has a client of its own (`BybitHttpClient` of 2.0.0rc7). It cannot take this one's place: it sets no dead
man's switch, tells neither the venue's clock nor the mark price of a position, and raises the same `ValueError`
for a refusal and for silence. Above all it is the code that trades: what the trading process reads wrong, its
witness must not read wrong with it. The watchdog runs without Nautilus in its process.

Source: https://bybit-exchange.github.io/docs/v5/guide (authentication).
"""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import urlencode

import aiohttp
import msgspec

from venues.live.account_client import AccountClientError

_WINDOW_MS = 5000


class Page[T](msgspec.Struct):
    """A list, and where the rest of it starts."""

    rows: list[T] = msgspec.field(name="list")
    next: str | None = msgspec.field(default=None, name="nextPageCursor")


class _Envelope(msgspec.Struct):
    code: int = msgspec.field(name="retCode")
    text: str = msgspec.field(default="", name="retMsg")
    result: msgspec.Raw = msgspec.Raw(b"{}")


class BybitRest:
    """One account's requests.

    Parameters
    ----------
    base_url : str
        E.g. https://api-testnet.bybit.com.
    key, secret : str
        Held in memory only.
    timeout_s : float
        Of each request.

    """

    def __init__(self, base_url: str, key: str, secret: str, timeout_s: float) -> None:
        self.base_url, self._key, self._secret = base_url, key, secret
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def get[T](self, path: str, query: dict[str, str], kind: type[T], *, signed: bool = True) -> T:
        """Ask, and read the result as a `kind`.

        Raises
        ------
        AccountClientError
            No answer in time, one that refuses, or one that is no `kind`.

        """
        text = urlencode(query)
        return await self._ask("GET", f"{path}?{text}" if text else path, text, kind, signed=signed)

    async def pages[T](self, path: str, query: dict[str, str], kind: type[Page[T]]) -> list[T]:
        """Ask for a list until its end; raises as `get` does."""
        rows: list[T] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.get(path, {**query, **cursor}, kind)
            rows += page.rows
            if not page.next or not page.rows:
                return rows
            cursor = {"cursor": page.next}

    async def post(self, path: str, body: dict[str, object]) -> None:
        """Send a command; raises as `get` does."""
        await self._ask("POST", path, msgspec.json.encode(body).decode(), msgspec.Raw, signed=True)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask[T](self, method: str, path: str, payload: str, kind: type[T], *, signed: bool) -> T:
        headers = {"Content-Type": "application/json", **(self._signed(payload) if signed else {})}
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        where = f"{method} {self.base_url}{path.partition('?')[0]}"
        body = payload if method == "POST" else None
        try:
            async with self._session.request(method, self.base_url + path, data=body, headers=headers) as answer:
                content = await answer.read()
                if answer.status != 200:
                    raise AccountClientError(f"{where}: HTTP status {answer.status}")
        except TimeoutError as error:
            raise AccountClientError(f"{where}: no answer in time") from error
        except aiohttp.ClientError as error:
            raise AccountClientError(f"{where}: {error or type(error).__name__}") from error
        return _read(where, content, kind)

    def _signed(self, payload: str) -> dict[str, str]:
        stamp = str(time.time_ns() // 1_000_000)
        return {
            "X-BAPI-API-KEY": self._key, "X-BAPI-TIMESTAMP": stamp, "X-BAPI-RECV-WINDOW": str(_WINDOW_MS),
            "X-BAPI-SIGN": sign(self._secret, f"{stamp}{self._key}{_WINDOW_MS}{payload}"),
        }  # fmt: skip


def _read[T](where: str, content: bytes, kind: type[T]) -> T:
    try:
        envelope = msgspec.json.decode(content, type=_Envelope)
        if envelope.code:
            raise AccountClientError(f"{where}: {envelope.code} {envelope.text}")
        return msgspec.json.decode(envelope.result, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise AccountClientError(f"{where}: the answer is not what was expected ({error})") from error
    except msgspec.DecodeError as error:
        raise AccountClientError(f"{where}: the answer is no JSON") from error


def sign(secret: str, text: str) -> str:
    """Bybit's signature: HMAC-SHA256 in hexadecimal."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
