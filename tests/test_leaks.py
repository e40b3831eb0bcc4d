"""A leak fails the test that made it, and no other."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

pytest_plugins = ["pytester"]

LEAKY = """
import socket, subprocess, sys
from pathlib import Path

SLEEP = [sys.executable, "-c", "import time; time.sleep(1000)"]

def test_child():
    process = subprocess.Popen(SLEEP)
    Path("child").write_text(str(process.pid))
    process.returncode = 0  # so that it does not complain by itself

def test_after_the_child():
    pass

def test_grandchild_in_a_session_of_its_own():
    code = (
        "import subprocess, sys\\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'], start_new_session=True)\\n"
        "open('grandchild', 'w').write(str(p.pid)); p.returncode = 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

def test_after_the_grandchild():
    pass

def test_socket_in_a_cycle():
    class Holder: pass
    one = Holder()
    one.itself, one.socket = one, socket.socket()

def test_after_the_socket():
    pass

def test_failing_with_an_open_socket():
    left = socket.socket()
    raise ValueError

def test_after_the_failure():
    import gc
    gc.collect()

def test_process_that_was_waited_for():
    subprocess.run([sys.executable, "-c", ""], check=True)
"""


OF_A_MODULE = """
import subprocess, sys
import pytest
from pathlib import Path

@pytest.fixture(scope="module")
def server():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
    Path("server").write_text(str(process.pid))
    process.returncode = 0

def test_one(server):
    pass

def test_last(server):
    pass
"""


def test_leaks_fail_the_test_that_leaked(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile(test_leaky=LEAKY, test_module=OF_A_MODULE)
    pytester.makeconftest("from tests import leaks\nleaks.GRACE_S = 1.0")
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    result = pytester.runpytest_subprocess("-p", "tests.leaks", "-p", "no:cacheprovider", "-v", "-n", "0")
    said = result.stdout.str()
    result.assert_outcomes(passed=10, failed=1, errors=4)
    for name in ("test_child", "test_grandchild_in_a_session_of_its_own", "test_socket_in_a_cycle", "test_last"):
        assert f"::{name} ERROR" in said
    assert said.count("still ran after it") >= 3
    assert "unclosed <socket" in said
    pids = [int((pytester.path / name).read_text()) for name in ("child", "grandchild", "server")]
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)
