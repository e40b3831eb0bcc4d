"""Tardis' exchanges and symbols as ids of instruments, in Nautilus' forms.

Tardis writes symbols as the exchange does, in capitals (docs.tardis.dev, downloadable CSV files; the exchanges are
those of its client's `consts.ts`). Sizes are the exchange's own too: contracts where it counts contracts (OKX's swaps
and futures, BitMEX, Gate's futures, Huobi's derivatives), dollars on Deribit's inverse contracts, else coins. The
contract table's `lot` and `multiplier` are in the same unit, so that nothing is converted here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from venues.recordings.loaders.venue_symbols import binance_future, is_bybit_inverse

type _Form = Callable[[str], str]

_DATED = re.compile(r"_\d{6,8}$")
_SEPARATORS = re.compile(r"[/:]")


def _same(symbol: str) -> str:
    return symbol


def _perpetual(symbol: str) -> str:
    """A perpetual's symbol is often that of the spot market; a dated one bears its day."""
    return symbol if _DATED.search(symbol) else f"{symbol}-PERP"


def _bybit(symbol: str) -> str:
    return f"{symbol}-INVERSE" if is_bybit_inverse(symbol) else f"{symbol}-LINEAR"


def _hyperliquid(symbol: str) -> str:
    """Perpetuals are called by their coin, spot markets by a pair or a number (`@107`)."""
    return f"{symbol}-USD-PERP" if symbol.isalnum() else symbol


_EXCHANGES: dict[str, tuple[str, _Form]] = {
    "aster-futures": ("ASTER", _perpetual),
    "binance-delivery": ("BINANCE", _same),
    "binance-european-options": ("BINANCE", _same),
    "binance-futures": ("BINANCE", binance_future),
    "bitfinex-derivatives": ("BITFINEX", _same),
    "bitget-futures": ("BITGET", _perpetual),
    "bybit": ("BYBIT", _bybit),
    "bybit-options": ("BYBIT", lambda symbol: f"{symbol}-OPTION"),
    "bybit-spot": ("BYBIT", lambda symbol: f"{symbol}-SPOT"),
    "coinbase-international": ("COINBASE_INTX", _same),
    "crypto-com-derivatives": ("CRYPTO_COM", _same),
    "cryptofacilities": ("KRAKEN", _same),
    "dydx": ("DYDX_V3", lambda symbol: f"{symbol}-PERP"),
    "dydx-v4": ("DYDX", lambda symbol: f"{symbol}-PERP"),
    "gate-io-futures": ("GATE_IO", _perpetual),
    "huobi-dm": ("HUOBI", _same),
    "huobi-dm-linear-swap": ("HUOBI", _same),
    "huobi-dm-options": ("HUOBI", _same),
    "huobi-dm-swap": ("HUOBI", _same),
    "hyperliquid": ("HYPERLIQUID", _hyperliquid),
    "kucoin-futures": ("KUCOIN", _same),
    "mexc-futures": ("MEXC", _same),
    "okex": ("OKX", _same),
    "okex-futures": ("OKX", _same),
    "okex-options": ("OKX", _same),
    "okex-spreads": ("OKX", _same),
    "okex-swap": ("OKX", _same),
}
"""Exchanges whose name or symbols differ; the others are called as Tardis does, in capitals."""


def venue_and_symbol(exchange: str, symbol: str) -> tuple[str, str]:
    """The contract table's words for a row's; a pair's `/` or `:` is `-`, as in Tardis' own file names."""
    name = exchange.strip().lower()
    venue, form = _EXCHANGES.get(name, (name.upper().replace("-", "_"), _same))
    return venue, form(_SEPARATORS.sub("-", symbol.strip().upper()))
