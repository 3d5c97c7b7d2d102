#!/usr/bin/env python3
"""Runs kms from a checkout: ``python kms.py --help``."""

from kms.cli import main

if __name__ == "__main__":
    main()
