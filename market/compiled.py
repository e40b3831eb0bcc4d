"""Compiled functions that stay on disk, and how numpy's records are laid out for them.

Numba keeps compiled code by the file that a function stands in and does not notice when a function that it CALLS, in
another file, has changed: after an update of this package it would go on with old rules. So the folder of compiled code
is named after the content of all compiled sources.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
import numpy as np

_ROOMS = ("market", "models", "strategies", "venues", "engine")
_MARK = b"from market.compiled import"
_KEPT = 4


def compiled[F: Callable[..., Any]](function: F) -> F:
    """Compile a function at its first call; the next process finds it on disk.

    It makes no arrays and counts no references to those that it is given: where groups of arrays go from function to
    function, the counting took three quarters of the time. Views are fine.
    """
    result: F = numba.njit(cache=True, _nrt=False)(function)
    return result


def inlined[F: Callable[..., Any]](function: F) -> F:
    """The same for a step of a loop: it becomes part of each compiled function that calls it.

    The groups of arrays that go from step to step are not copied then, which doubled the rate of the fast lane.
    """
    result: F = numba.njit(cache=True, _nrt=False, forceinline=True)(function)
    return result


def allocating[F: Callable[..., Any]](function: F) -> F:
    """The same for a function that makes arrays, or calls one that does."""
    result: F = numba.njit(cache=True)(function)
    return result


def plain[F: Callable[..., Any]](function: F) -> F:
    """A compiled function as Python runs it: sooner done where a call does next to nothing."""
    result: F = function.py_func  # type: ignore[attr-defined]
    return result


def record_of(dtype: np.dtype[Any], **values: object) -> Any:
    """A single zeroed record of that layout, its fields set to `values`.

    Kernels take it as it is and change it in place; Python reads and writes fields by name.
    """
    record = np.zeros(1, dtype)[0]
    for name, value in values.items():
        record[name] = value
    return record


def _sources_hash() -> str:
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            content = path.read_bytes()
            if _MARK in content or path.name == "compiled.py":
                digest.update(content)
    return digest.hexdigest()[:16]


def _use_folder() -> None:
    """Point numba at the folder of these sources; remove those of versions long gone."""
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    parent = Path(base) / "cmm-compiled"
    try:
        folder = parent / _sources_hash()
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        others = sorted(parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:  # no home to write to: compile into a folder that the system clears
        numba.config.CACHE_DIR = str(Path(tempfile.gettempdir()) / f"cmm-compiled-{os.getuid()}")
        return
    numba.config.CACHE_DIR = str(folder)
    for path in others[_KEPT:]:
        with suppress(OSError):
            shutil.rmtree(path)


_use_folder()
