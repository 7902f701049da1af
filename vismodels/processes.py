"""Processes that do not outlive the one that started them."""

import ctypes
import signal
import sys


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it dies; Linux only.

    The parent may have died before this call: compare `os.getppid()` where that matters.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
