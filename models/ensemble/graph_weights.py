"""The arrays of an artifact's graph, read from the ONNX file itself: no package that trains is needed for that.

ONNX is a protocol buffer (onnx/onnx.proto): a model's field 7 is its graph, a graph's field 5 its initialisers, of
which each has its shape (1), its type (2), its name (8) and its values (9, raw little-endian).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError

_GRAPH, _INITIALISER = 7, 5
_DIMS, _TYPE, _NAME, _RAW = 1, 2, 8, 9
_FLOAT = 1
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5

type _Field = tuple[int, int | memoryview]


def read_weights(graph: Path) -> dict[str, NDArray[np.float32]]:
    """All float32 initialisers of a graph, by name.

    Raises
    ------
    ModelError
        Missing, or not an ONNX file.

    """
    try:
        model = memoryview(graph.read_bytes())
        bodies = [_bytes(value) for number, value in _fields(model) if number == _GRAPH]
        parts = [_bytes(value) for body in bodies for number, value in _fields(body) if number == _INITIALISER]
        tensors = [_tensor(part) for part in parts]
    except (OSError, ValueError, IndexError) as error:
        raise ModelError(f"{graph}: not a graph that can be read ({str(error)[:80]}); restore it") from error
    return dict(tensor for tensor in tensors if tensor is not None)


def _tensor(message: memoryview) -> tuple[str, NDArray[np.float32]] | None:
    dims: list[int] = []
    name, kind, raw = "", 0, memoryview(b"")
    for number, value in _fields(message):
        if number == _DIMS:
            dims += [value] if isinstance(value, int) else _varints(value)
        elif number == _TYPE and isinstance(value, int):
            kind = value
        elif number == _NAME:
            name = bytes(_bytes(value)).decode()
        elif number == _RAW:
            raw = _bytes(value)
    return (name, np.frombuffer(raw, "<f4").reshape(dims)) if kind == _FLOAT else None


def _fields(message: memoryview) -> Iterator[_Field]:
    """Numbers and values of a message's fields; fixed-width ones are not looked at."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
        elif wire == _BYTES:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("it ends too soon")
            yield number, message[at : at + length]
            at += length
        elif wire in (_FIXED_64, _FIXED_32):
            at += 8 if wire == _FIXED_64 else 4
        else:
            raise ValueError(f"a field of kind {wire}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _varints(packed: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(packed):
        value, at = _varint(packed, at)
        values.append(value)
    return values


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a part should")
    return value
