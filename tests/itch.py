"""ITCH 5.0 messages as the specification draws them."""

from __future__ import annotations

import struct

S = 10**9
OPEN = 34_200 * S
"""09:30 in ns after midnight."""


def framed(*bodies: bytes) -> bytes:
    return b"".join(struct.pack(">H", len(body)) + body for body in bodies)


def message(kind: str, ns: int, *fields: bytes, locate: int = 1) -> bytes:
    return kind.encode() + struct.pack(">HH", locate, 0) + ns.to_bytes(6, "big") + b"".join(fields)


def stock(name: str) -> bytes:
    return name.encode().ljust(8)


def directory(name: str, locate: int = 1, ns: int = 0) -> bytes:
    return message("R", ns, stock(name), b"QN" + struct.pack(">I", 100) + b"NCZ PNN1N" + bytes(4) + b"N", locate=locate)


def system(code: str, ns: int) -> bytes:
    return message("S", ns, code.encode(), locate=0)


def add(ns: int, ref: int, side: str, shares: int, price: int, name: str = "AAPL", locate: int = 1) -> bytes:
    fields = struct.pack(">QcI", ref, side.encode(), shares) + stock(name) + struct.pack(">I", price)
    return message("A", ns, fields, locate=locate)


def execute(ns: int, ref: int, shares: int, match: int) -> bytes:
    return message("E", ns, struct.pack(">QIQ", ref, shares, match))


def execute_at(ns: int, ref: int, shares: int, match: int, price: int, printable: str = "Y") -> bytes:
    return message("C", ns, struct.pack(">QIQcI", ref, shares, match, printable.encode(), price))


def cancel(ns: int, ref: int, shares: int) -> bytes:
    return message("X", ns, struct.pack(">QI", ref, shares))


def delete(ns: int, ref: int) -> bytes:
    return message("D", ns, struct.pack(">Q", ref))


def replace(ns: int, ref: int, new: int, shares: int, price: int) -> bytes:
    return message("U", ns, struct.pack(">QQII", ref, new, shares, price))


def hidden(ns: int, shares: int, price: int, match: int, name: str = "AAPL") -> bytes:
    return message("P", ns, struct.pack(">QcI", 0, b"B", shares), stock(name), struct.pack(">IQ", price, match))


def cross(ns: int, shares: int, price: int, match: int, name: str = "AAPL") -> bytes:
    return message("Q", ns, struct.pack(">Q", shares), stock(name), struct.pack(">IQc", price, match, b"O"))
