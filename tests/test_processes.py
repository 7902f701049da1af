import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

CHILD = "from vismodels.processes import die_with_parent; die_with_parent(); import time; "
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {code!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel offers this on Linux only")
def test_a_process_dies_with_its_parent_even_if_that_is_killed():
    code = PARENT.format(code=CHILD + "print(1, flush=True); time.sleep(60)")
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, "the child outlived its parent"
        time.sleep(0.05)
