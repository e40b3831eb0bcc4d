"""What an exchange's clock shows, by its public REST interface, against this machine's."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from venues.live.adapters_config import AdapterConfig, urls

_TIMEOUT_S = 3.0
_TRIES = 3


class Offset(NamedTuple):
    """The exchange's clock minus ours, and how long it took to ask: the offset is known to half of that; s."""

    offset_s: float
    took_s: float


class _BybitTime(msgspec.Struct, rename="camel"):
    time_nano: int


class _Bybit(msgspec.Struct):
    result: _BybitTime


class _Binance(msgspec.Struct, rename="camel"):
    server_time: int


class _OkxTime(msgspec.Struct):
    ts: int


class _Okx(msgspec.Struct):
    data: list[_OkxTime]


_BINANCE = {
    (True, "mainnet"): "https://fapi.binance.com", (True, "testnet"): "https://testnet.binancefuture.com",
    (False, "mainnet"): "https://api.binance.com", (False, "testnet"): "https://testnet.binance.vision",
}  # fmt: skip


def best_offset(tries: list[tuple[float, float, float]]) -> Offset:
    """The offset of the try that took least.

    Parameters
    ----------
    tries : list
        When it was asked, what the exchange's clock showed, when the answer came; s.

    """
    sent, shown, back = min(tries, key=lambda t: t[2] - t[0])
    return Offset(shown - 0.5 * (sent + back), back - sent)


def time_url(venue: str, config: AdapterConfig, instrument: str) -> str | None:
    """Where a venue shows its clock; None where we know of no such place.

    Sources: the venues' REST documentation of server time (Bybit v5, Binance spot and USD-M futures, OKX v5).
    """
    if venue == "bybit":
        return f"{urls(config.environment, config.base_url)[0]}/v5/market/time"
    if venue == "okx":
        return f"{(config.base_url or 'https://www.okx.com').rstrip('/')}/api/v5/public/time"
    if venue == "binance":
        futures = instrument.rpartition(".")[0].endswith("-PERP")
        known = _BINANCE.get((futures, config.environment))
        base = config.base_url or known
        return f"{base.rstrip('/')}{'/fapi/v1/time' if futures else '/api/v3/time'}" if base else None
    return None


def ask(venue: str, url: str, now: Callable[[], float] = time.time) -> Offset | None:
    """Ask three times and take the best; None where the venue does not answer, or not what is expected."""
    tries = []
    for _ in range(_TRIES):
        sent = now()
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
                content = answer.read()
            back = now()
            tries.append((sent, _shown(venue, content), back))
        except (OSError, urllib.error.URLError, msgspec.DecodeError, IndexError):
            continue
    return best_offset(tries) if tries else None


def _shown(venue: str, content: bytes) -> float:
    if venue == "bybit":
        return msgspec.json.decode(content, type=_Bybit, strict=False).result.time_nano / 1e9
    if venue == "okx":
        return msgspec.json.decode(content, type=_Okx, strict=False).data[0].ts / 1e3
    return msgspec.json.decode(content, type=_Binance, strict=False).server_time / 1e3
