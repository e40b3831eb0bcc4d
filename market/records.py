"""State of compiled code: numpy records, by themselves or as the only row of an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from market.compiled import record_of


def state_of(dtype: np.dtype[Any], **values: object) -> Any:
    """An array (1,) of a layout, its row zero but for `values`.

    Python calls compiled code with such arrays: numba takes much longer to look at a single record.
    """
    return np.array([record_of(dtype, **values)], dtype)


def row(state: Any) -> Any:
    """In compiled code: the record of a state, whether it comes as a record or as an array (1,)."""
    return state[0] if isinstance(state, np.ndarray) else state


@overload(row, inline="always")
def _row(state):  # type: ignore[no-untyped-def]
    if isinstance(state, types.Record):
        return lambda state: state
    return lambda state: state[0]
