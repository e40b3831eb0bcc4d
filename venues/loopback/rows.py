"""Rows of the account as REST and streams spell them: orders, executions, position, wallet.

A field with a default is one that a linear contract of a unified account shows so whatever happens here.
Source: https://bybit-exchange.github.io/docs/v5 (order, execution, position, account).
"""

from __future__ import annotations

from msgspec import Struct, field

from venues.loopback.requests import CATEGORY


class OrderRow(Struct, rename="camel", kw_only=True):
    category: str = CATEGORY
    symbol: str
    order_id: str
    order_link_id: str
    block_trade_id: str = ""
    side: str
    position_idx: int = 0
    order_status: str
    cancel_type: str
    reject_reason: str
    time_in_force: str
    is_leverage: str = ""
    price: str
    qty: str
    avg_price: str
    leaves_qty: str
    leaves_value: str
    cum_exec_qty: str
    cum_exec_value: str
    cum_exec_fee: str
    order_type: str
    stop_order_type: str = ""
    order_iv: str = ""
    trigger_price: str = ""
    take_profit: str = ""
    stop_loss: str = ""
    trigger_by: str = ""
    tp_trigger_by: str = ""
    sl_trigger_by: str = ""
    trigger_direction: int = 0
    place_type: str = ""
    tpsl_mode: str = ""
    tp_limit_price: str = ""
    sl_limit_price: str = ""
    last_price_on_created: str = ""
    reduce_only: bool
    close_on_trigger: bool = False
    smp_type: str = "None"
    smp_group: int = 0
    smp_order_id: str = ""
    fee_currency: str = ""
    closed_pnl: str = "0"
    created_time: str
    updated_time: str
    create_type: str = "CreateByUser"
    oco_trigger_by: str = ""
    market_unit: str = ""


class ExecutionRow(Struct, rename="camel", kw_only=True):
    category: str = CATEGORY
    symbol: str
    exec_fee: str
    exec_id: str
    exec_price: str
    exec_qty: str
    exec_type: str = "Trade"
    exec_value: str
    fee_rate: str
    trade_iv: str = ""
    mark_iv: str = ""
    block_trade_id: str = ""
    mark_price: str
    index_price: str = ""
    underlying_price: str = ""
    leaves_qty: str
    order_id: str
    order_link_id: str
    order_price: str
    order_qty: str
    order_type: str = "Limit"
    stop_order_type: str = "UNKNOWN"
    side: str
    exec_time: str
    is_leverage: str = "0"
    is_maker: bool
    closed_size: str = "0"
    seq: int
    market_unit: str = ""
    create_type: str = "CreateByUser"
    exec_pnl: str = "0"
    fee_currency: str


class PositionRow(Struct, rename="camel", kw_only=True):
    category: str = CATEGORY
    position_idx: int = 0
    trade_mode: int = 0
    risk_id: int = 1
    risk_limit_value: str = "2000000"
    symbol: str
    side: str
    size: str
    entry_price: str
    avg_price: str
    leverage: str
    position_value: str
    position_balance: str = "0"
    mark_price: str
    position_im: str = field(default="0", name="positionIM")
    position_mm: str = field(default="0", name="positionMM")
    take_profit: str = "0"
    stop_loss: str = "0"
    trailing_stop: str = "0"
    unrealised_pnl: str
    cur_realised_pnl: str = "0"
    cum_realised_pnl: str
    session_avg_price: str = "0"
    created_time: str = "1700000000000"
    updated_time: str
    tpsl_mode: str = "Full"
    liq_price: str = ""
    bust_price: str = ""
    position_status: str = "Normal"
    adl_rank_indicator: int = 0
    auto_add_margin: int = 0
    leverage_sys_updated_time: str = ""
    mmr_sys_updated_time: str = ""
    seq: int
    is_reduce_only: bool = False
    break_even_price: str = ""


class CoinRow(Struct, rename="camel", kw_only=True):
    coin: str
    equity: str
    usd_value: str
    wallet_balance: str
    free: str
    locked: str = "0"
    borrow_amount: str = "0"
    available_to_borrow: str = ""
    available_to_withdraw: str
    accrued_interest: str = "0"
    total_order_im: str = field(default="0", name="totalOrderIM")
    total_position_im: str = field(default="0", name="totalPositionIM")
    total_position_mm: str = field(default="0", name="totalPositionMM")
    unrealised_pnl: str
    cum_realised_pnl: str
    bonus: str = "0"
    collateral_switch: bool = True
    margin_collateral: bool = True
    spot_hedging_qty: str = "0"
    spot_borrow: str = "0"


class WalletRow(Struct, rename="camel", kw_only=True):
    account_type: str = "UNIFIED"
    account_im_rate: str = field(default="0", name="accountIMRate")
    account_mm_rate: str = field(default="0", name="accountMMRate")
    total_equity: str
    total_wallet_balance: str
    total_margin_balance: str
    total_available_balance: str
    total_perp_upl: str = field(name="totalPerpUPL")
    total_initial_margin: str = "0"
    total_maintenance_margin: str = "0"
    account_ltv: str = field(default="0", name="accountLTV")
    coin: list[CoinRow]
