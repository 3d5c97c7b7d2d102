"""``scripts/faults``: a random walk over all faults on a broker of its own."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults.walk import Walk


def main() -> int:
    """Walk, print one line, and answer 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to break things")
    parser.add_argument("--seed", type=int, default=1, help="gives the same plan of faults again")
    parser.add_argument("--instances", type=int, default=2, help="how many instances of kms")
    parser.add_argument("--rate", type=int, default=200, help="records a second")
    parser.add_argument("--keep", type=Path, help="a folder for logs and caches, kept")
    options = parser.parse_args()
    with ExitStack() as exits:
        folder = options.keep or exits.enter_context(tempfile.TemporaryDirectory("kms-faults"))
        walk = Walk(Path(folder), options.seed, options.instances, options.rate)
        started = time.monotonic()

        def tell(text: str) -> None:
            print(f"{time.monotonic() - started:7.1f} s  {text}", file=sys.stderr, flush=True)

        try:
            found = walk.run(options.minutes * 60, tell)
        finally:
            walk.close()
    for crash in walk.crashes:
        print(crash, file=sys.stderr)
    for form, tally in found.tally().items():
        counts = ", ".join(f"{name} {count}" for name, count in tally._asdict().items())
        print(f"{form}: {counts}")
    faults, verdict = sum(walk.done.values()), found.verdict()
    clean = verdict.is_clean() and not walk.crashes
    print(
        f"{'clean' if clean else 'BROKEN'}: seed {options.seed}, {faults} faults, {verdict}, "
        f"unexpected exits {len(walk.crashes)}"
    )
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
