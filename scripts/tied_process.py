"""Child processes that can't outlive us."""

from __future__ import annotations

import os
import sys

# A pytest killed with -9 runs no clean-up, so the kernel has to end its broker. A program of its
# own asks for that, since a preexec_fn would run between fork and exec, where the child of a parent
# with threads (librdkafka's) may deadlock. The exec keeps what was asked for.
_PROGRAM = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone already")
os.execvp(sys.argv[2], sys.argv[2:])
"""


def tied_to_us(command: list[str]) -> list[str]:
    """The command, made to be killed when we are gone, even if by kill -9.

    The kernel looks at the thread that starts it: when that ends, the process ends.
    Only Linux can do this; elsewhere the command is returned as it is.
    """
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", "-c", _PROGRAM, str(os.getpid()), *command]
