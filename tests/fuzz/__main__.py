"""Run the fuzzers for longer: `python -m tests.fuzz --seconds 60`, or `--num 800` cases of each format."""

import argparse
import sys
import time
from collections import Counter

from tests.fuzz.formats import FORMATS
from tests.fuzz.harness import run


def main() -> int:
    """Print what happened, and return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--format", choices=[*FORMATS], nargs="*", default=[*FORMATS], help="by default all")
    parser.add_argument("--num", type=int, default=10**6, help="cases of each format")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seconds", type=float, default=10**6, help="time for all formats together")
    parser.add_argument("--seed", type=int, default=0, help="other cases with other seeds")
    options = parser.parse_args()
    wrong = 0
    for name in options.format:
        end = time.monotonic() + options.seconds / len(options.format)
        case, start, outcomes, peak = FORMATS[name](), options.first, Counter[str](), 0
        while start < options.first + options.num and time.monotonic() < end:
            numbers = range(start, min(start + 20, options.first + options.num))
            report = run(name, case, numbers, options.seed)
            outcomes, start, peak = outcomes + report.outcomes, numbers.stop, max(peak, report.peak)
            for number, story in report.failures:
                print(f"{name} {number}:\n{story[-3000:]}")
            wrong += len(report.failures)
        print(f"{name}: {dict(outcomes)}, at most {peak >> 20} MB", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
