"""A quoter of a user's own, from a Python file: compiled where numba can, asked in Python where it cannot.

`FILE.py:NAME` names a function `best(market, forecast, inventory, limit) -> (bid, ask)`, or a class with such a method
and, where it reads forecasts, `needs_forecast = True`. Relative paths start at the working directory, as all of the
configuration's do. Backtests in both lanes, paper, live and the replay of a journal ask the same compiled function.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from market.compiled import compiled
from market.errors import ConfigError
from models.ensemble.predictor import Forecast
from strategies.values import FORECAST, MARKET, Market

BY_ADDRESS = -1
"""The kind in a QUOTER record of one that is not ours: it is called by its address."""

MOST_TICKS = 2.0**53
"""Beyond it a float is no whole number of ticks any more."""

_EXPECTED = "best(market, forecast, inventory, limit)"
_ROW = (numba.from_dtype(MARKET), numba.from_dtype(FORECAST), types.int64, types.int64)
SIGNATURE = types.UniTuple(types.float64, 2)(*_ROW)
"""Of all that compiled code calls as a quoter: (MARKET, FORECAST, inventory, limit) -> (bid, ask)."""
_ROWS = (numba.typeof(np.zeros(1, MARKET)), numba.typeof(np.zeros(1, FORECAST)))
_UNKNOWN = (np.nan,) * len(Forecast._fields)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class QuoterError(ConfigError):
    """A quoter of a user's own that cannot be used, or failed; its text names file, function and remedy."""


class Entry(types.WrapperAddressProtocol):  # type: ignore[misc]
    """Where compiled code finds a quoter's function: all have one type, so that the lane is compiled once for all."""

    def __init__(self, function: Any = None) -> None:
        self._function = function  # keeps the code alive

    def __wrapper_address__(self) -> int:
        return self._function.address if self._function is not None else -1

    def signature(self) -> Any:
        return SIGNATURE


NO_ENTRY = Entry()


class _Code(NamedTuple):
    """A compiled quoter, as Python calls it and as compiled code does; `why` it is not compiled, '' where it is."""

    ask: Any = None
    entry: Entry = NO_ENTRY
    why: str = ""


_CODE: dict[tuple[str, str], _Code] = {}  # by content of the file and name: each day makes its quoter anew


class OwnQuoter:
    """A quoter from a file, see `strategies.quoters.Quoter`.

    Parameters
    ----------
    named : str
        `FILE.py:NAME`.
    sha256 : str, optional
        What the file must contain: a run goes on with the rules that it began with.

    Raises
    ------
    QuoterError
        No such file or name, another content, or it is no quoter.

    """

    looks_at_costs = False

    def __init__(self, named: str, sha256: str | None = None) -> None:
        self.named = named
        file, _, name = named.rpartition(":")
        if not file:
            raise QuoterError(f"{named}: no quoter; name a file and what stands in it, FILE.py:NAME")
        source = _read(named, Path(file))
        self.sha256 = hashlib.sha256(source).hexdigest()
        if sha256 is not None and self.sha256 != sha256:
            raise QuoterError(
                f"{named}: the file has changed: it has the sha256 {self.sha256[:12]}…, not {sha256[:12]}… that was "
                "traded with; put that version back, or begin a new run"
            )
        self._file = str(Path(file).resolve())
        made = self._make(_execute(named, source, self._file), name)
        self.needs_forecast: bool = getattr(made, "needs_forecast", False)
        if not isinstance(self.needs_forecast, bool):
            raise QuoterError(f"{named}: needs_forecast is {self.needs_forecast!r}; set it to True or False")
        self._best: Callable[..., object] = made if isinstance(made, FunctionType) else made.best
        self._check_signature()
        key = (self.sha256, name)
        if key not in _CODE:
            _CODE[key] = _compile(made, self.needs_forecast)
        self._code = _CODE[key]
        self._market, self._forecast = np.zeros(1, MARKET), np.zeros(1, FORECAST)

    def _make(self, module: ModuleType, name: str) -> Any:
        found = getattr(module, name, None)
        if isinstance(found, FunctionType):
            return found
        if not isinstance(found, type):
            has = ", ".join(
                key for key, value in vars(module).items()
                if isinstance(value, FunctionType | type) and value.__module__ == module.__name__ and key[0] != "_"
            )  # fmt: skip
            what = f"{name} is neither a function nor a class" if hasattr(module, name) else f"there is no {name} in it"
            raise QuoterError(f"{self.named}: {what}; it has {has or 'no function and no class'}")
        if not callable(getattr(found, "best", None)):
            raise QuoterError(f"{self.named}: the class has no method best; add {_EXPECTED}")
        try:
            return found()
        except Exception as error:
            raise QuoterError(
                f"{self.named}: it cannot be made without arguments ({_says(error)}); give its parameters defaults"
            ) from error

    def _check_signature(self) -> None:
        try:
            inspect.signature(self._best).bind(None, None, None, None)
        except TypeError as error:
            found = inspect.signature(self._best)
            raise QuoterError(f"{self.named}: best takes {found}; it is called as {_EXPECTED}") from error

    @property
    def is_compiled(self) -> bool:
        return self._code.ask is not None

    @property
    def entry(self) -> Entry | None:
        """What compiled code calls, where it is compiled; (nan, nan) where the function raises: `best` says what."""
        return self._code.entry if self.is_compiled else None

    @property
    def note(self) -> str:
        """Which version of the file it is and how it runs, for whoever reads of the run."""
        how = "runs compiled" if self.is_compiled else f"runs uncompiled ({self._code.why})"
        return f"quoter {self.named}: sha256 {self.sha256[:12]}, {how}"

    def best(self, market: Market, forecast: Forecast | None, inventory: int, limit: int) -> tuple[float, float]:
        """Best bid and ask wanted, in ticks.

        Raises
        ------
        QuoterError
            It raised, or gave something else than two finite numbers.

        """
        coming = forecast if self.needs_forecast else None
        try:
            if self._code.ask is None:
                found = self._best(market, coming, inventory, limit)
            else:
                self._market[0], self._forecast[0] = market, coming or _UNKNOWN
                found = self._code.ask(self._market, self._forecast, inventory, limit)
        except Exception as error:
            at = f", line {line}" if (line := _line(error, self._file)) else ""
            raise QuoterError(
                f"{self.named}{at}: best raised {_says(error)} at {market}, inventory {inventory}; correct it"
            ) from error
        if isinstance(found, tuple | list | np.ndarray) and len(found) == 2 and all(map(_is_price, found)):
            return float(found[0]), float(found[1])
        raise QuoterError(
            f"{self.named}: best gave {found!r} at {market}, inventory {inventory}; return two finite numbers "
            "(bid, ask) in ticks"
        )


@compiled
def is_usable(bid: float, ask: float) -> bool:
    """Whether both are prices: finite, and of a size that counts ticks."""
    return abs(bid) <= MOST_TICKS and abs(ask) <= MOST_TICKS


def _is_price(value: object) -> bool:
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return is_number and abs(float(value)) <= MOST_TICKS  # type: ignore[arg-type]


def absolute(named: str) -> str:
    """The name with its file's absolute path, for those who read it elsewhere."""
    file, _, name = named.rpartition(":")
    return f"{Path(file).resolve()}:{name}"


def _read(named: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise QuoterError(
            f"{named}: {path} cannot be read: {error.strerror}; relative paths start at the working directory"
        ) from error


def _execute(named: str, source: bytes, file: str) -> ModuleType:
    """Run the file as a module of its own, anew each time: nothing that it remembers passes from day to day."""
    module = ModuleType(f"own_quoter_{hashlib.sha256(source).hexdigest()[:16]}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(source, file, "exec"), module.__dict__)  # the user's own program, named in his configuration
    except Exception as error:
        line = error.lineno if isinstance(error, SyntaxError) else _line(error, file)
        at = f", line {line}" if line else ""
        raise QuoterError(f"{named}: the file cannot be loaded{at}: {_says(error)}; correct it") from error
    return module


def _compile(made: Any, needs_forecast: bool) -> _Code:
    """Compile a function, or a method whose `self` is no more than the numbers that the class sets."""
    try:
        asked = _bound(made)
        if not needs_forecast:
            asked = _without_forecast(asked)
        asked.compile(_ROW)
        _check_result(asked.nopython_signatures[-1].return_type)

        @numba.njit
        def of_rows(market, forecast, inventory, limit):  # type: ignore[no-untyped-def]
            return asked(market[0], forecast[0], inventory, limit)

        @numba.cfunc(SIGNATURE)
        def guarded(market, forecast, inventory, limit):  # type: ignore[no-untyped-def]
            try:
                bid, ask = asked(market, forecast, inventory, limit)
            except Exception:
                return np.nan, np.nan
            return float(bid), float(ask)

        of_rows.compile((*_ROWS, types.int64, types.int64))
    except Exception as error:  # numba raises whatever comes up while it tries
        return _Code(why=_why(error))
    return _Code(of_rows, Entry(guarded))


def _bound(made: Any) -> Any:
    """The function without `self`; the numbers that a class sets by itself are constants."""
    if isinstance(made, FunctionType):
        return numba.njit(made)
    kind = type(made)
    best = inspect.getattr_static(kind, "best")
    if isinstance(best, staticmethod):
        return numba.njit(best.__func__)
    numbers = {
        name: value for name in dir(made)
        if name[0] != "_" and isinstance(value := getattr(made, name), bool | int | float)
    }  # fmt: skip
    inner = numba.njit(best)
    self = namedtuple(kind.__name__, numbers)(**numbers) if numbers else None

    @numba.njit
    def bound(market, forecast, inventory, limit):  # type: ignore[no-untyped-def]
        return inner(self, market, forecast, inventory, limit)

    return bound


def _without_forecast(asked: Any) -> Any:
    @numba.njit
    def unknowing(market, forecast, inventory, limit):  # type: ignore[no-untyped-def]  # noqa: ARG001
        return asked(market, None, inventory, limit)

    return unknowing


def _check_result(result: Any) -> None:
    pair = isinstance(result, types.BaseTuple) and len(result) == 2
    if not pair or not all(isinstance(one, types.Integer | types.Float) for one in result):
        raise TypeError(f"it gives {result}, not two numbers")


def _why(error: Exception) -> str:
    """The line of numba's many that says what is the matter."""
    lines = [" ".join(line.split()) for line in _COLOURS.sub("", str(error)).splitlines()]
    lines = [line for line in lines if line and not line.startswith(("Failed in", "- Resolution failure"))]
    return f"numba: {lines[0][:160].rstrip('.:')}" if lines else f"numba: {type(error).__name__}"


def _says(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _line(error: Exception, file: str) -> int | None:
    """The last line of the file that led to the error; compiled code knows none."""
    line, frame = None, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == file:
            line = frame.tb_lineno
        frame = frame.tb_next
    return line
