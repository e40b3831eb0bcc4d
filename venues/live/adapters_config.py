"""Settings of the exchange adapters, apart from Nautilus, whose import takes a while."""

from __future__ import annotations

from typing import Literal

import msgspec


class AdapterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One venue's adapter.

    Parameters
    ----------
    environment : str
        `testnet` wherever there is one.
    base_url : str, optional
        Instead of the venue's own REST address; the sockets follow it.
    ws_url : str, optional
        Instead of the venue's own public socket.
    sequence : str
        What its book's sequence numbers promise (see `guard.data.sequence`).

    """

    environment: Literal["testnet", "demo", "mainnet"] = "testnet"
    base_url: str | None = None
    ws_url: str | None = None
    sequence: Literal["contiguous", "rising", "ignore"] = "ignore"

    @property
    def socket(self) -> str | None:
        """The public socket's address where it is not the venue's own: named, or that of the HTTP server named."""
        if self.ws_url is not None or self.base_url is None:
            return self.ws_url
        return socket_url(self.base_url)


class AdaptersConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All venues with an adapter."""

    binance: AdapterConfig = AdapterConfig(sequence="rising")
    bybit: AdapterConfig = AdapterConfig(sequence="rising")
    okx: AdapterConfig = AdapterConfig(sequence="rising")
    hyperliquid: AdapterConfig = AdapterConfig()
    kraken: AdapterConfig = AdapterConfig()
    deribit: AdapterConfig = AdapterConfig(sequence="rising")


COMMANDS_PER_S = {"bybit": 20}
"""What Nautilus' adapter lets out in a second, cancels included; more waits in its queue (measured, 2.0.0rc7)."""

BOOK_DEPTHS = {"BYBIT": 50, "OKX": 400}
"""Levels a side that Nautilus' adapters ask for by themselves; those of other venues send the whole book (2.0.0rc7)."""

_HTTP = {
    "mainnet": "https://api.bybit.com",
    "testnet": "https://api-testnet.bybit.com",
    "demo": "https://api-demo.bybit.com",
}
_STREAMS = {
    "mainnet": "wss://stream.bybit.com",
    "testnet": "wss://stream-testnet.bybit.com",
    "demo": "wss://stream-demo.bybit.com",
}


def urls(environment: str, base_url: str | None) -> tuple[str, str]:
    """Bybit's REST and socket addresses; a base URL serves both."""
    if base_url is not None:
        return base_url.rstrip("/"), socket_url(base_url)
    return _HTTP[environment], _STREAMS[environment]


def socket_url(url: str) -> str:
    """The socket address of a server whose HTTP address is given."""
    return url.rstrip("/").replace("https://", "wss://").replace("http://", "ws://")
