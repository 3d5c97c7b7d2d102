#!/usr/bin/env python3
"""Runs kms from a checkout: ``python kms.py --help``."""

import os
import signal
import sys

if os.getpid() == 1:
    # In a container. What PID 1 does not handle the kernel keeps from it, so a stop that comes
    # before the service handles it, or during another command, would have to wait for a kill.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))

from kms.cli import main

if __name__ == "__main__":
    main()
