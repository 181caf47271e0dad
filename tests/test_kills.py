"""Single workers are killed, as the system does when memory is short: nothing hangs, and the content is the same.

`pytest -m slow tests/test_kills.py -s` prints how long each kill went unnoticed.
"""

import gzip
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.records.record_files import read_record
from deepnets.storage.column_reader import ColumnFile
from tests.support.paths import GOLDEN

KILLS = 10
_NOTICED = "a worker was killed; another one takes over its work"
_MOST_SECONDS = 15.0

pytestmark = pytest.mark.slow


def workers(parent: int) -> list[int]:
    """Return the workers of a process: its children that compute, not those that only watch."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            is_child = int(status.read_text().rpartition(")")[2].split()[1]) == parent
            if is_child and b"resource_tracker" not in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
    return found


def sweep(
    command: list[str],
    log: Path,
    progress: Callable[[], int],
    victims: Callable[[int], list[int]] = workers,
    noticed: str = _NOTICED,
) -> list[float]:
    """Kill a random victim again and again, and return the seconds until that was noticed or the run went on.

    A run that ends with a sentence, because a task lost both of its workers, is continued.
    """
    rng, seconds = random.Random(0), list[float]()
    while True:
        with log.open("ab") as errors:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None and len(seconds) < KILLS:
            before, end = progress(), time.monotonic() + 200
            while progress() == before and process.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(rng.random())
            if process.poll() is None and (found := victims(process.pid)):
                seconds.append(_kill(rng.choice(found), log, process, progress, noticed))
        assert process.wait(timeout=400) in (0, 2, -signal.SIGKILL), log.read_text()[-2000:]
        if process.returncode == 0:
            break
    print(f"{len(seconds)} kills, noticed after {', '.join(f'{s:.1f}' for s in sorted(seconds))} s")
    assert "Traceback" not in log.read_text()
    return seconds


def _kill(victim: int, log: Path, process: subprocess.Popen[bytes], progress: Callable[[], int], noticed: str) -> float:
    said, before = log.read_text(errors="replace").count(noticed), progress()
    os.kill(victim, signal.SIGKILL)
    start = time.monotonic()
    while process.poll() is None and time.monotonic() - start < 5 * _MOST_SECONDS:
        if log.read_text(errors="replace").count(noticed) > said or (noticed == "" and progress() > before):
            break
        if noticed and progress() > before + 3:  # an idle one was killed, whose work nobody misses
            break
        time.sleep(0.02)
    return time.monotonic() - start


def test_generation(tmp_path: Path) -> None:
    code = "import sys; from deepnets.datasets import generation as g; g.SHARD_SIZE = 100; "
    code += "from deepnets.utils.command_line import run_command; "
    code += "sys.exit(run_command(lambda: g.generate(sys.argv[1], 'train', num=int(sys.argv[2]), workers=2) and 0))"
    path = tmp_path / "x.hdf5"
    partial = tmp_path / "x.hdf5.partial"
    seconds = sweep(
        [sys.executable, "-c", code, str(path), "12000"], tmp_path / "log", lambda: len(list(partial.glob("0*.hdf5")))
    )
    assert len(seconds) == KILLS
    assert max(seconds) < _MOST_SECONDS
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "whole.hdf5"), "12000"], check=True, capture_output=True)
    assert ColumnFile(path).header == ColumnFile(tmp_path / "whole.hdf5").header


def test_import(tmp_path: Path) -> None:
    """An import is one process, which is killed and started again."""
    for packed in (GOLDEN / "official").glob("*.gz"):
        (tmp_path / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    rng = random.Random(0)
    command = [sys.executable, "-m", "deepnets.cli", "import", str(tmp_path / "deepnets1m_eval.hdf5"), "--root"]
    start = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    usual = time.monotonic() - start
    for _ in range(KILLS):
        process = subprocess.Popen([*command, str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
        time.sleep(usual * rng.random())
        process.kill()
        process.wait()
    if not list((tmp_path / "killed").glob("*.hdf5")):
        subprocess.run([*command, str(tmp_path / "killed")], check=True, capture_output=True)
    for path in (tmp_path / "whole").glob("*.hdf5"):
        assert ColumnFile(path).header == ColumnFile(tmp_path / "killed" / path.name).header


def evaluation(out: Path, *options: str) -> list[str]:
    model = ("--model", "randinit", "--split", "test", "--num", "60", "--workers", "2")
    return [sys.executable, "-m", "benchmarks.run", *model, "--out", str(out), *options]


def rows(out: Path) -> Callable[[], int]:
    return lambda: (out / "rows.jsonl").read_bytes().count(b"}\n") if (out / "rows.jsonl").exists() else 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run(evaluation(out), check=True, capture_output=True)
    return read_record(next(out.glob("no_finetune*.json")))[1]


def test_evaluation(tmp_path: Path, whole: bytes) -> None:
    out = tmp_path / "run"
    seconds = sweep(evaluation(out), tmp_path / "log", rows(out))
    assert len(seconds) == KILLS
    assert max(seconds) < _MOST_SECONDS
    assert read_record(next(out.glob("no_finetune*.json")))[1] == whole


def test_evaluation_on_a_cluster(tmp_path: Path, whole: bytes) -> None:
    distributed = pytest.importorskip("distributed")
    out = tmp_path / "run"
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:

        def of_cluster(parent: int) -> list[int]:
            return [worker.pid for worker in cluster.workers.values() if worker.pid]

        command = evaluation(out, "--scheduler", cluster.scheduler_address)
        seconds = sweep(command, tmp_path / "log", rows(out), of_cluster, "")
    assert len(seconds) == KILLS
    assert max(seconds) < _MOST_SECONDS
    assert read_record(next(out.glob("no_finetune*.json")))[1] == whole
