"""What a test leaves behind fails that test: a process that still runs, a socket or a loop that nobody closed."""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker

import psutil
import pytest

MARK = "CMM_TEST"
"""Names the test, or the module whose fixtures are made; a process keeps what it was born with, in whatever session."""


YOUNG_S = 5.0
GRACE_S = 30.0
"""A process that ends by itself in this time was on its way out: a helper whose parent has gone, say."""
_MANY = 20_000


def _collect(everything: bool = False) -> None:
    """Collect, and let the many things that live on (what was imported) be looked at once only, or once a module."""
    if everything:
        gc.unfreeze()
    gc.collect()
    if everything or len(gc.get_objects()) > _MANY:
        gc.freeze()


def pytest_collection_finish() -> None:
    resource_tracker.ensure_running()  # Python's own helper belongs to no test: it ends with this process
    _collect(everything=True)


def pytest_unconfigure() -> None:
    gc.unfreeze()  # what lived on ends with the interpreter, or libraries call it a leak of theirs


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """A test that failed has been told of: what its traceback held goes silently, not in the middle of another."""
    result = yield
    error = getattr(sys, "last_exc", None)
    if error is not None:
        sys.last_exc = sys.last_value = sys.last_traceback = None
        with warnings.catch_warnings(action="ignore"):
            while error is not None:  # a node of Nautilus' among the locals is no part of what Python collects
                traceback.clear_frames(error.__traceback__)
                error = error.__context__
            gc.collect()
    return result


def left_over(mark: str, before: set[int]) -> list[psutil.Process]:
    """Processes that still run: children that were not there before, and what carries the mark."""
    children = psutil.Process().children()
    found = {p.pid: p for p in children if p.pid not in before}
    for process in psutil.process_iter():
        if _environ(process).get(MARK) == mark:
            found[process.pid] = process
    return list(found.values())


def _environ(process: psutil.Process) -> dict[str, str]:
    """A process's environment. One that is just being started shows none for a moment."""
    with suppress(psutil.Error):
        for _ in range(20):
            environ: dict[str, str] = process.environ()
            if environ or time.time() - process.create_time() > YOUNG_S:
                return environ
            time.sleep(0.01)
    return {}


def _still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that do not end in time; a zombie has, whoever has to look at it."""
    deadline = time.monotonic() + GRACE_S
    while (left := [p for p in processes if _runs(p)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return "gone by now"


@contextmanager
def _watched(name: str, everything: bool = False) -> Iterator[None]:
    """What starts within the block has to end within it."""
    outer = os.environ.get(MARK)
    before = {p.pid for p in psutil.Process().children()}
    mark = os.environ[MARK] = f"{os.getpid()} {name}"
    yield
    if outer is None:
        del os.environ[MARK]
    else:
        os.environ[MARK] = outer
    _collect(everything)  # what warns when it is collected warns here
    left = _still_running(left_over(mark, before))
    told = [f"{p.pid}: {_command(p)}" for p in left]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _still_running(left)
    assert not told, f"processes of {name} still ran after it: {told}"


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_of_the_module(request: pytest.FixtureRequest) -> Iterator[None]:
    """Torn down after the module's other fixtures."""
    with _watched(request.node.nodeid, everything=True):
        yield


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest, nothing_is_left_of_the_module: None) -> Iterator[None]:
    """Torn down after all other fixtures of a test: what is still there is a leak, is ended and told of."""
    with _watched(request.node.nodeid):
        yield
        request.node.funcargs.clear()
