"""Who may: keys, signatures and the time window of requests.

Source: https://bybit-exchange.github.io/docs/v5/guide (authentication, for REST and for sockets).
"""

from __future__ import annotations

import hashlib
import hmac
import urllib.parse

from aiohttp import web

from venues.loopback.errors import Refusal

_PUBLIC = ("/v5/market", "/v5/announcements")
_AHEAD_MS = 1000  # a client's clock may be so far ahead of ours
WINDOW_MS = 5000
"""How long a request is good where it does not say."""


def is_public(path: str) -> bool:
    """Whether a REST path needs no signature."""
    return path.startswith(_PUBLIC)


def check_time(now_ms: int, stamp: str | int, window: str | int) -> None:
    """Raise `OrderError` for a request from too far back or ahead."""
    if not -_AHEAD_MS <= now_ms - int(stamp) <= int(window):
        raise Refusal.TIMESTAMP.error()


class Credentials:
    """The one account's key and secret."""

    def __init__(self, key: str, secret: str) -> None:
        self.key, self._secret = key, secret

    def check_rest(self, request: web.Request, body: str, now_ms: int) -> None:
        """Raise `OrderError` where a request's key, signature or time is not good."""
        head = request.headers
        key, stamp = head.get("X-BAPI-API-KEY", ""), head.get("X-BAPI-TIMESTAMP", "0")
        window = head.get("X-BAPI-RECV-WINDOW", str(WINDOW_MS))
        if key != self.key:
            raise Refusal.KEY.error()
        payload = body if request.method == "POST" else request.rel_url.raw_query_string
        signed, given = stamp + key + window, head.get("X-BAPI-SIGN", "")
        if not any(self._is_signed(signed + text, given) for text in (payload, urllib.parse.unquote(payload))):
            raise Refusal.SIGNATURE.error()
        check_time(now_ms, stamp, window)

    def opens_socket(self, arguments: list[str | int], now_ms: int) -> bool:
        """Whether key, time of expiry (ms) and signature of a socket's `auth` are good."""
        key, expires, signature = (*arguments, "", "", "")[:3]
        good = key == self.key and self._is_signed(f"GET/realtime{expires}", str(signature))
        return good and int(expires or 0) > now_ms

    def _is_signed(self, text: str, signature: str) -> bool:
        made = hmac.new(self._secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        return hmac.compare_digest(made, signature)
