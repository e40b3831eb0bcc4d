"""Nautilus' exchange adapters by name: public data of each, and order entry where live trading is proven."""

from __future__ import annotations

from typing import Any

from nautilus_trader.live import LiveNodeBuilder
from nautilus_trader.model import AccountId

from market.errors import DataError
from venues.live.adapters_config import AdapterConfig, urls

_LIVE = {"mainnet": "LIVE", "testnet": "TESTNET", "demo": "DEMO"}
_MAIN = {"mainnet": "MAINNET", "testnet": "TESTNET", "demo": "TESTNET"}
_DEMO = {"mainnet": "LIVE", "testnet": "DEMO", "demo": "DEMO"}


def add_public_data(builder: LiveNodeBuilder, venue: str, config: AdapterConfig, *instruments: str) -> LiveNodeBuilder:
    """Add a venue's public data client; no key is needed.

    Parameters
    ----------
    builder : LiveNodeBuilder
    venue : str
    config : AdapterConfig
    instruments : str
        All of one kind: a client talks to one socket.

    Raises
    ------
    DataError
        The venue has no adapter here, or not for one of these instruments, or not for them together.

    """
    makers = {
        "binance": _binance, "bybit": _bybit, "okx": _okx, "hyperliquid": _hyperliquid, "kraken": _kraken,
        "deribit": _deribit,
    }  # fmt: skip
    if venue not in makers:
        raise DataError(f"venue {venue}: no adapter; known are {', '.join(makers)}")
    exchange = venue.upper()
    for instrument in instruments:
        if instrument.rpartition(".")[2] != exchange:
            raise DataError(f"instrument {instrument}: venue {venue} trades instruments named ….{exchange}")
        if _kind(venue, instrument) != _kind(venue, instruments[0]):
            raise DataError(
                f"instruments {instruments[0]} and {instrument}: {venue} sends them over sockets of their own; "
                "give each kind a command of its own"
            )
    factory, settings = makers[venue](config, instruments[0])
    return builder.add_data_client(exchange, factory, settings)


def add_bybit_execution(
    builder: LiveNodeBuilder, environment: str, base_url: str | None, key: str, secret: str
) -> LiveNodeBuilder:
    """Add order entry at Bybit's linear contracts."""
    from nautilus_trader.adapters import bybit as b

    http, socket = urls(environment, base_url)
    settings = b.BybitExecutionClientConfig(
        product_types=[b.BybitProductType.LINEAR],
        environment=getattr(b.BybitEnvironment, environment.upper()),
        api_key=key,
        api_secret=secret,
        base_url_http=http,
        base_url_ws_private=f"{socket}/v5/private",
        base_url_ws_trade=f"{socket}/v5/trade",
        account_id=AccountId("BYBIT-001"),
        max_retries=0,  # an order is never sent twice on a guess
    )
    return builder.add_exec_client("BYBIT", b.BybitExecutionClientFactory(), settings)


def _kind(venue: str, instrument: str) -> str:
    """By what a venue tells its markets apart: the end of the symbol, where it names one."""
    kind = instrument.rpartition(".")[0].rpartition("-")[2]
    return kind if venue == "bybit" or kind in ("PERP", "SWAP") else "SPOT"


def _bybit(config: AdapterConfig, instrument: str) -> tuple[Any, Any]:
    from nautilus_trader.adapters import bybit as b

    kind = _kind("bybit", instrument)
    if kind not in ("LINEAR", "INVERSE", "SPOT"):
        raise DataError(f"instrument {instrument}: Bybit's are named …-LINEAR.BYBIT, …-INVERSE.BYBIT or …-SPOT.BYBIT")
    http, socket = urls(config.environment, config.base_url)
    return b.BybitDataClientFactory(), b.BybitDataClientConfig(
        product_types=[getattr(b.BybitProductType, kind)],
        environment=getattr(b.BybitEnvironment, config.environment.upper()),
        base_url_http=http,
        base_url_ws_public=config.ws_url or f"{socket}/v5/public/{kind.lower()}",
    )


def _binance(config: AdapterConfig, instrument: str) -> tuple[Any, Any]:
    from nautilus_trader.adapters import binance as b

    futures = _kind("binance", instrument) == "PERP"
    return b.BinanceDataClientFactory(), b.BinanceDataClientConfig(
        product_type=b.BinanceProductType.USD_M if futures else b.BinanceProductType.SPOT,
        environment=getattr(b.BinanceEnvironment, _LIVE[config.environment]),
        base_url_http=config.base_url,
        base_url_ws=config.socket,
    )


def _okx(config: AdapterConfig, instrument: str) -> tuple[Any, Any]:
    from nautilus_trader.adapters import okx as o

    swap = _kind("okx", instrument) == "SWAP"
    return o.OKXDataClientFactory(), o.OKXDataClientConfig(
        instrument_types=[o.OKXInstrumentType.SWAP if swap else o.OKXInstrumentType.SPOT],
        environment=getattr(o.OKXEnvironment, _DEMO[config.environment]),
        base_url_http=config.base_url,
        base_url_ws_public=config.socket,
    )


def _hyperliquid(config: AdapterConfig, instrument: str) -> tuple[Any, Any]:
    from nautilus_trader.adapters import hyperliquid as h

    return h.HyperliquidDataClientFactory(), h.HyperliquidDataClientConfig(
        environment=getattr(h.HyperliquidEnvironment, _MAIN[config.environment]),
        base_url_http=config.base_url,
        base_url_ws=config.socket,
    )


def _kraken(config: AdapterConfig, instrument: str) -> tuple[Any, Any]:
    from nautilus_trader.adapters import kraken as k

    return k.KrakenDataClientFactory(), k.KrakenDataClientConfig(
        environment=getattr(k.KrakenEnvironment, _DEMO[config.environment]),
        base_url=config.base_url,
        ws_public_url=config.socket,
    )


def _deribit(config: AdapterConfig, instrument: str) -> tuple[Any, Any]:
    from nautilus_trader.adapters import deribit as d

    return d.DeribitDataClientFactory(), d.DeribitDataClientConfig(
        environment=getattr(d.DeribitEnvironment, _MAIN[config.environment]),
        base_url_http=config.base_url,
        base_url_ws=config.socket,
    )
