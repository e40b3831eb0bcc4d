"""Compiled functions that stay on disk, and how numpy's records are laid out for them.

Numba keeps compiled code by the file that a function stands in and does not notice when a function that it CALLS, in
another file, has changed: after an update of this package it would go on with old rules. So the folder of compiled code
is named after the content of all compiled sources.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
import numpy as np

_ROOMS = ("market", "models", "strategies", "venues", "engine")
_MARK = b"from market.compiled import"
_UNUSED_S = 90 * 86_400.0


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
    """Point numba at the folder of these sources, and remove folders that nobody has used for long.

    Where no folder can be kept, this process compiles for itself alone.
    """
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    parent = Path(base) / "cmm-compiled"
    folder = parent / _sources_hash()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        numba.config.CACHE_DIR = tempfile.mkdtemp(prefix="cmm-compiled-")
        atexit.register(shutil.rmtree, numba.config.CACHE_DIR, ignore_errors=True)
        return
    numba.config.CACHE_DIR = str(folder)
    with suppress(OSError):
        os.utime(folder)
        for other in parent.iterdir():  # a process of another version may run, and compile what it has not used yet
            if time.time() - other.stat().st_mtime > _UNUSED_S:
                shutil.rmtree(other, ignore_errors=True)


_use_folder()
