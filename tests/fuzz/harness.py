"""Runs cases in forked processes of bounded time and memory, and counts what happens.

Each case has a number, from which its input follows: `python -m tests.fuzz --format data --first 17 --num 1`
repeats one.
"""

import json
import os
import resource
import select
import shutil
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NoReturn

import torch

from deepnets.utils.errors import InputError

MOST_SECONDS = 20
MOST_BYTES = 2**30
_BATCH = 50
_PATIENCE = 60  # seconds of silence, on a busy machine, that count as a hang

Case = Callable[[Random, Path], str]
"""Makes an input and hands it to the toolkit; returns what it did, raises AssertionError for silently wrong data."""


class HangError(BaseException):
    """A case took too long."""


@dataclass
class Report:
    """What happened.

    Args:
        outcomes: number of cases by what the toolkit did.
        failures: number and story of cases that went wrong.
        peak: most bytes of memory of any process, above what the libraries hold.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    peak: int = 0


def run(name: str, case: Case, numbers: range, seed: int = 0) -> Report:
    """Run cases, each with its own random numbers."""
    report, first = Report(), numbers.start
    while first < numbers.stop:
        first = _run_batch(name, case, range(first, min(first + _BATCH, numbers.stop)), seed, report)
    return report


def _run_batch(name: str, case: Case, numbers: range, seed: int, report: Report) -> int:
    """Run cases in one process, until it dies or all are done; return the next number."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _child(name, case, numbers, seed, write)
    os.close(write)
    following = numbers.start
    try:
        for line in _lines(read):
            answer = json.loads(line)
            report.outcomes[answer["outcome"]] += 1
            report.peak = max(report.peak, answer["peak"])
            if answer["story"]:
                report.failures.append((following, answer["story"]))
            following += 1
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
    os.close(read)
    _, status = os.waitpid(pid, 0)
    if status:
        report.outcomes["hang or crash"] += 1
        report.failures.append((following, f"no answer; status {status}"))
        following += 1
    return following


def _lines(read: int) -> Iterator[bytes]:
    """Yield lines of a pipe until it ends.

    Raises:
        TimeoutError: nothing came for too long.
    """
    rest = b""
    while select.select([read], [], [], _PATIENCE)[0]:
        content = os.read(read, 2**16)
        if not content:
            return
        *lines, rest = (rest + content).split(b"\n")
        yield from lines
    raise TimeoutError


def _child(name: str, case: Case, numbers: range, seed: int, write: int) -> NoReturn:
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    torch.set_num_threads(1)  # threads of the parent do not exist in a fork: waiting for them never ends
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, _too_long)
    libraries = _most_memory()  # a process that has run tests holds more
    for number in numbers:
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        outcome, story = _tried(case, Random(f"{name} {seed} {number}"), folder)
        signal.setitimer(signal.ITIMER_PROF, 0)
        shutil.rmtree(folder, ignore_errors=True)
        peak = _most_memory() - libraries
        if peak > MOST_BYTES and not story:
            outcome, story = "too much memory", f"{peak >> 20} MB"
        os.write(write, json.dumps({"outcome": outcome, "story": story, "peak": peak}).encode() + b"\n")
        if outcome == "too much memory":
            break
    os._exit(0)


def _most_memory() -> int:
    """Return the most bytes of memory that this process has held."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _tried(case: Case, rng: Random, folder: Path) -> tuple[str, str]:
    """Return what a case did, and the traceback if it went wrong."""
    try:
        return case(rng, folder), ""
    except (InputError, OSError) as error:
        text = str(error).strip()
        return "refused", "" if text and "\n" not in text and len(text) < 2100 else f"not a sentence: {error!r:.500}"
    except HangError:
        return "hang", traceback.format_exc()
    except AssertionError:
        return "silently wrong", traceback.format_exc()
    except BaseException:
        return "traceback", traceback.format_exc()


def _too_long(signum: int, frame: object) -> None:
    raise HangError
