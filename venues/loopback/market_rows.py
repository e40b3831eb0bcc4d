"""Rows of the venue as REST spells them: the instrument, ticker and book, fees, and what a key may do.

A field with a default is one that this exchange shows so whatever happens.
Source: https://bybit-exchange.github.io/docs/v5 (market, account, user).
"""

from __future__ import annotations

from msgspec import Struct, field


class LeverageFilter(Struct, frozen=True, rename="camel"):
    min_leverage: str = "1"
    max_leverage: str = "100.00"
    leverage_step: str = "0.01"


class PriceFilter(Struct, frozen=True, rename="camel", kw_only=True):
    min_price: str
    max_price: str = "19999999.80"
    tick_size: str


class LotSizeFilter(Struct, frozen=True, rename="camel", kw_only=True):
    max_order_qty: str = "100000.000"
    min_order_qty: str
    qty_step: str
    post_only_max_order_qty: str = "100000.000"
    max_mkt_order_qty: str = "10000.000"
    min_notional_value: str = "0"


class RiskParameters(Struct, frozen=True, rename="camel"):
    price_limit_ratio_x: str = "0.01"
    price_limit_ratio_y: str = "0.02"


class InstrumentRow(Struct, rename="camel", kw_only=True):
    symbol: str
    contract_type: str = "LinearPerpetual"
    status: str = "Trading"
    base_coin: str
    quote_coin: str
    launch_time: str = "1584230400000"
    delivery_time: str = "0"
    delivery_fee_rate: str = ""
    price_scale: str
    leverage_filter: LeverageFilter = LeverageFilter()
    price_filter: PriceFilter
    lot_size_filter: LotSizeFilter
    unified_margin_trade: bool = True
    funding_interval: int = 480
    settle_coin: str
    copy_trading: str = "none"
    upper_funding_rate: str = "0.00375"
    lower_funding_rate: str = "-0.00375"
    is_pre_listing: bool = False
    pre_listing_info: None = None
    display_name: str = ""
    symbol_type: str = ""
    risk_parameters: RiskParameters = RiskParameters()


class TickerRow(Struct, rename="camel", kw_only=True):
    symbol: str
    last_price: str
    index_price: str
    mark_price: str
    prev_price_24h: str = field(name="prevPrice24h")
    price_24h_pcnt: str = field(default="0", name="price24hPcnt")
    high_price_24h: str = field(name="highPrice24h")
    low_price_24h: str = field(name="lowPrice24h")
    prev_price_1h: str = field(name="prevPrice1h")
    open_interest: str = "0"
    open_interest_value: str = "0"
    turnover_24h: str = field(default="0", name="turnover24h")
    volume_24h: str = field(default="0", name="volume24h")
    funding_rate: str = "0.0001"
    next_funding_time: str = "0"
    predicted_delivery_price: str = ""
    basis_rate: str = ""
    delivery_fee_rate: str = ""
    delivery_time: str = "0"
    ask_size: str = field(default="0", name="ask1Size")
    bid_price: str = field(name="bid1Price")
    ask_price: str = field(name="ask1Price")
    bid_size: str = field(default="0", name="bid1Size")
    basis: str = ""


class BookRow(Struct, kw_only=True):
    """Levels as [price, size], best first."""

    s: str
    b: list[list[str]]
    a: list[list[str]]
    ts: int
    u: int = 0
    seq: int
    cts: int


class FeeRow(Struct, rename="camel", kw_only=True):
    symbol: str
    base_coin: str = ""
    maker_fee_rate: str
    taker_fee_rate: str


class AccountInfo(Struct, rename="camel", kw_only=True):
    unified_margin_status: int = 5
    margin_mode: str = "REGULAR_MARGIN"
    is_master_trader: bool = False
    spot_hedging_status: str = "OFF"
    updated_time: str
    dcp_status: str
    time_window: int = 0
    smp_group: int = 0


def _permissions() -> dict[str, list[str]]:
    allowed = {"ContractTrade": ["Order", "Position"], "Derivatives": ["DerivativesTrade"]}
    names = (
        "ContractTrade", "Spot", "Wallet", "Options", "Derivatives", "CopyTrading", "BlockTrade", "Exchange", "NFT",
        "Affiliate", "Earn", "FiatP2P", "FiatBybitPay", "FiatConvertBroker", "BitCard", "ByXPost",
    )  # fmt: skip
    return {name: allowed.get(name, []) for name in names}


class KeyInfo(Struct, rename="camel", kw_only=True):
    id: str = "1"
    note: str = ""
    api_key: str
    read_only: int = 0
    secret: str = ""
    ips: list[str] = field(default_factory=lambda: ["*"])
    type: int = 1
    permissions: dict[str, list[str]] = field(default_factory=_permissions)
    deadline_day: int = 90
    expired_at: str = "2030-01-01T00:00:00Z"
    created_at: str = "2020-01-01T00:00:00Z"
    unified: int = 0
    uta: int = 1
    user_id: int = field(default=1, name="userID")
    inviter_id: int = field(default=0, name="inviterID")
    vip_level: str = "No VIP"
    mkt_maker_level: str = "0"
    affiliate_id: int = field(default=0, name="affiliateID")
    rsa_public_key: str = ""
    is_master: bool = True
    parent_uid: str = "0"
    kyc_level: str = "LEVEL_DEFAULT"
    kyc_region: str = ""
