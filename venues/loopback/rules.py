"""What the exchange checks before it carries out a command: one function a rule, each raises `OrderError`."""

from __future__ import annotations

from collections.abc import Container
from decimal import Decimal

from market.events import BID
from venues.loopback.errors import Refusal
from venues.loopback.orders import Order

MAX_BATCH = 20
_DEAD_MAN_S = (3, 300)


def whole_steps(text: str | float, step: Decimal, field: str) -> int:
    """A price or a size as a number of steps; one between two steps is refused."""
    count = Decimal(str(text)) / step
    if count != int(count):
        raise Refusal.STEP.error(field=field, text=text, step=step)
    return int(count)


def check_size(lots: int) -> None:
    if lots <= 0:
        raise Refusal.SIZE.error()


def check_price(price: int | None) -> None:
    if price is not None and price <= 0:
        raise Refusal.PRICE.error()


def check_link(link_id: str, taken: Container[str]) -> None:
    """A client id names one order, for ever."""
    if link_id and link_id in taken:
        raise Refusal.DUPLICATE_LINK.error()


def check_open_orders(count: int, most: int) -> None:
    if count >= most:
        raise Refusal.TOO_MANY_ORDERS.error()


def reducing_lots(side: int, lots: int, position: int) -> int:
    """As many of `lots` as close the position, at most all of it."""
    room = -position if side == BID else position
    if room <= 0:
        raise Refusal.REDUCE_ONLY.error()
    return min(lots, room)


def check_amend(order: Order | None, price: int | None, lots: int | None) -> Order:
    """An open order that the amend changes and that is not filled beyond its new size."""
    if order is None or not order.is_open:
        raise Refusal.GONE_FOR_AMEND.error()
    if price in (None, order.price) and lots in (None, order.lots):
        raise Refusal.UNCHANGED.error()
    if lots is not None and lots <= order.done:
        raise Refusal.GONE_FOR_AMEND.error()
    return order


def check_cancel(order: Order | None) -> Order:
    if order is None or not order.is_open:
        raise Refusal.GONE_FOR_CANCEL.error()
    return order


def check_batch(count: int) -> None:
    if not 0 < count <= MAX_BATCH:
        raise Refusal.BATCH_SIZE.error(most=MAX_BATCH)


def check_dead_man_window(seconds: int) -> None:
    least, most = _DEAD_MAN_S
    if not least <= seconds <= most:
        raise Refusal.DEAD_MAN_WINDOW.error(least=least, most=most)
