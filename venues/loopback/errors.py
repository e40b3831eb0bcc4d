"""The exchange's refusals: one table of codes and words, as Bybit's v5 spells them.

Source: https://bybit-exchange.github.io/docs/v5/error
"""

from __future__ import annotations

from enum import Enum, unique

import msgspec


class OrderError(Exception):
    """A request refused; `code` is the protocol's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@unique
class Refusal(Enum):
    """Why a request is refused: code, and the words with what they leave open."""

    MALFORMED = (10001, "Request parameter error: {why}")
    SIZE = (10001, "Qty invalid")
    PRICE = (10001, "Price invalid")
    STEP = (10001, "{field} {text} is no multiple of {step}")
    SYMBOL = (10001, "params error: symbol invalid")
    BATCH_SIZE = (10001, "a batch holds 1 to {most} orders")
    DEAD_MAN_WINDOW = (10001, "timeWindow: {least} to {most} seconds")
    UNCHANGED = (10001, "The order remains unchanged as the parameters entered match the existing ones.")
    TIMESTAMP = (10002, "invalid request, please check your server timestamp or recv_window param")
    KEY = (10003, "API key is invalid.")
    NOT_AUTHORISED = (10003, "not authorised")
    SIGNATURE = (10004, "Error sign, please check your signature generation algorithm.")
    SOCKET_SIGNATURE = (10004, "Invalid sign")
    RATE_LIMIT = (10006, "Too many visits. Exceeded the API Rate Limit.")
    BANNED = (10010, "access too frequent")
    SERVER = (10016, "Server error, please try again later.")
    NOT_SERVED = (10404, "{what}: not served by this exchange")
    GONE_FOR_AMEND = (110001, "order not exists or too late to replace")
    GONE_FOR_CANCEL = (110001, "order not exists or too late to cancel")
    TOO_MANY_ORDERS = (110009, "The number of active orders exceeds the limit")
    REDUCE_ONLY = (110017, "Reduce-only order has same side with current position")
    DUPLICATE_LINK = (110072, "OrderLinkedID is duplicate")

    @property
    def code(self) -> int:
        return self.value[0]

    @property
    def text(self) -> str:
        return self.value[1]

    def error(self, **about: object) -> OrderError:
        """Make the exception; `about` fills in the words."""
        return OrderError(self.code, self.text.format(**about))


UNDERSTOOD = (OrderError, msgspec.DecodeError, ValueError, ArithmeticError)
"""What a request may raise that is the client's own doing."""


def as_refusal(error: Exception) -> OrderError:
    """What the client is told; of a request that makes no sense, what about it."""
    return error if isinstance(error, OrderError) else Refusal.MALFORMED.error(why=error)
