"""The engine's state as rows of the protocol: prices and sizes as decimal text, sides as words."""

from __future__ import annotations

from decimal import Decimal

from market.events import ASK, BID
from venues.loopback.exchange import NS_PER_MS, Exchange
from venues.loopback.market_rows import (
    AccountInfo,
    BookRow,
    FeeRow,
    InstrumentRow,
    KeyInfo,
    LotSizeFilter,
    PriceFilter,
    TickerRow,
)
from venues.loopback.orders import Execution, Order, Terms
from venues.loopback.rows import CoinRow, ExecutionRow, OrderRow, PositionRow, WalletRow

SIDES = {"Buy": BID, "Sell": ASK}
_SIDE_NAMES = {BID: "Buy", ASK: "Sell"}


def price_text(terms: Terms, ticks: int) -> str:
    return format(ticks * terms.tick, "f")


def size_text(terms: Terms, lots: int) -> str:
    return format(lots * terms.lot, "f")


def order(exchange: Exchange, o: Order) -> OrderRow:
    terms = exchange.terms
    average = o.value / (o.done * terms.lot) if o.done else None
    return OrderRow(
        symbol=terms.symbol, order_id=o.order_id, order_link_id=o.link_id, side=_SIDE_NAMES[o.side],
        order_status=o.status, cancel_type=o.cancel_type, reject_reason=o.reason, time_in_force=o.tif,
        price=price_text(terms, o.price), qty=size_text(terms, o.lots),
        avg_price=f"{average:f}" if average is not None else "",
        leaves_qty=size_text(terms, o.left if o.is_open else 0),
        leaves_value=format(o.left * o.price * terms.tick * terms.lot, "f"),
        cum_exec_qty=size_text(terms, o.done), cum_exec_value=format(o.value, "f"), cum_exec_fee=format(o.fee, "f"),
        order_type=o.kind, reduce_only=o.reduce_only, created_time=str(o.created_ns // NS_PER_MS),
        updated_time=str(o.updated_ns // NS_PER_MS),
    )  # fmt: skip


def execution(exchange: Exchange, e: Execution) -> ExecutionRow:
    terms = exchange.terms
    return ExecutionRow(
        symbol=terms.symbol, exec_fee=format(e.fee, "f"), exec_id=e.exec_id, exec_price=price_text(terms, e.price),
        exec_qty=size_text(terms, e.lots), exec_value=format(terms.value(e.price, e.lots), "f"),
        fee_rate=format(terms.maker if e.is_maker else terms.taker, "f"),
        mark_price=format(exchange.engine.mark, "f"), leaves_qty=size_text(terms, e.left),
        order_id=e.order_id, order_link_id=e.link_id, order_price=price_text(terms, e.order_price),
        order_qty=size_text(terms, e.order_lots), side=_SIDE_NAMES[e.side], exec_time=str(e.ts_ns // NS_PER_MS),
        is_maker=e.is_maker, seq=e.seq, fee_currency=terms.coin,
    )  # fmt: skip


def position(exchange: Exchange) -> PositionRow:
    engine, account = exchange.engine, exchange.engine.account
    size = abs(account.position) * exchange.terms.lot
    average = f"{abs(account.entry_value) / size if size else Decimal(0):.8f}"
    return PositionRow(
        symbol=exchange.terms.symbol,
        side=_SIDE_NAMES[BID if account.position > 0 else ASK] if account.position else "",
        size=format(size, "f"), entry_price=average, avg_price=average, leverage=exchange.leverage,
        position_value=format(abs(account.entry_value), "f"), mark_price=format(engine.mark, "f"),
        unrealised_pnl=f"{engine.unrealised:.8f}", cum_realised_pnl=_realised(exchange),
        updated_time=str(exchange.now_ms()), seq=engine.seq,
    )  # fmt: skip


def wallet(exchange: Exchange) -> WalletRow:
    account, unrealised = exchange.engine.account, exchange.engine.unrealised
    balance, equity = f"{account.wallet:.8f}", f"{account.wallet + unrealised:.8f}"
    coin = CoinRow(
        coin=exchange.terms.coin, equity=equity, usd_value=equity, wallet_balance=balance, free=balance,
        available_to_withdraw=balance, unrealised_pnl=f"{unrealised:.8f}", cum_realised_pnl=_realised(exchange),
    )  # fmt: skip
    return WalletRow(
        total_equity=equity, total_wallet_balance=balance, total_margin_balance=equity,
        total_available_balance=equity, total_perp_upl=f"{unrealised:.8f}", coin=[coin],
    )  # fmt: skip


def _realised(exchange: Exchange) -> str:
    account = exchange.engine.account
    return f"{account.wallet - account.start_cash:.8f}"


def instrument(terms: Terms) -> InstrumentRow:
    tick, lot = str(terms.tick), str(terms.lot)
    return InstrumentRow(
        symbol=terms.symbol, base_coin=terms.base, quote_coin=terms.coin, settle_coin=terms.coin,
        price_scale=str(-int(terms.tick.as_tuple().exponent)),
        price_filter=PriceFilter(min_price=tick, tick_size=tick),
        lot_size_filter=LotSizeFilter(min_order_qty=lot, qty_step=lot),
    )  # fmt: skip


def ticker(exchange: Exchange) -> TickerRow:
    engine, terms = exchange.engine, exchange.terms
    bid, ask = engine.best(BID) or 0, engine.best(ASK) or 0
    mark = format(engine.mark, "f")
    return TickerRow(
        symbol=terms.symbol, last_price=price_text(terms, engine.last or bid), index_price=mark, mark_price=mark,
        prev_price_24h=mark, high_price_24h=mark, low_price_24h=mark, prev_price_1h=mark,
        bid_price=price_text(terms, bid), ask_price=price_text(terms, ask),
    )  # fmt: skip


def levels(terms: Terms, lots_by_price: dict[int, int]) -> list[list[str]]:
    """Levels as [price, size]."""
    return [[price_text(terms, price), size_text(terms, lots)] for price, lots in lots_by_price.items()]


def book(exchange: Exchange, depth: int) -> BookRow:
    bids, asks = (levels(exchange.terms, exchange.shown(side, depth)) for side in (BID, ASK))
    now = exchange.now_ms()
    return BookRow(s=exchange.terms.symbol, b=bids, a=asks, ts=now, seq=exchange.engine.seq, cts=now)


def fees(terms: Terms) -> FeeRow:
    return FeeRow(symbol=terms.symbol, maker_fee_rate=format(terms.maker, "f"), taker_fee_rate=format(terms.taker, "f"))


def account_info(exchange: Exchange, *, has_dead_man: bool) -> AccountInfo:
    return AccountInfo(updated_time=str(exchange.now_ms()), dcp_status="ON" if has_dead_man else "OFF")


def key_info(key: str) -> KeyInfo:
    return KeyInfo(api_key=key)
