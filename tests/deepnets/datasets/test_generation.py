"""Generation: the same content however it is cut, killed and resumed."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import pytest

from deepnets import DeepNets1M, symbolic_graph
from deepnets.datasets import generation as generate_module
from deepnets.datasets.generation import generate
from deepnets.sampling.sampler import sample_networks
from deepnets.storage import sharded_file
from deepnets.storage.column_reader import ColumnFile, find_damaged_columns
from deepnets.storage.network_file import NetworkFile
from deepnets.utils import dask_cluster
from deepnets.utils.atomic_files import move_into_place
from deepnets.utils.errors import FileError
from tests.support.raising import raising


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate_module, "SHARD_SIZE", 100)


def content(path: Path) -> str:
    return ColumnFile(path).header.content_sha256


def test_equal_for_any_number_of_workers(tmp_path: Path) -> None:
    paths = [generate(tmp_path / f"{n}.hdf5", "train", num=730, workers=n) for n in (1, 2, 3)]
    assert len({content(path) for path in paths}) == 1
    assert find_damaged_columns(paths[0]) == []
    assert not list(tmp_path.glob("*.partial"))
    compressed = generate(tmp_path / "gz.hdf5", "train", num=730, workers=1, compress=True)
    assert content(compressed) == content(paths[0])
    assert content(generate(tmp_path / "seed.hdf5", "train", num=730, seed=1)) != content(paths[0])


@pytest.mark.parametrize("compress", [False, True])
def test_the_file_holds_what_was_sampled(tmp_path: Path, compress: bool) -> None:
    file = NetworkFile(generate(tmp_path / "x.hdf5", "wide", num=12, seed=3, workers=1, compress=compress), 224)
    networks = sample_networks("wide", 0, 12, seed=3)
    assert len(file) == 12
    for i in range(12):
        expected = networks.architectures(224)[i]
        assert file.architecture(i) == expected
        assert file.graph(i).shape.tolist() == symbolic_graph(expected, 224).shape.tolist()
        assert file.num_params()[i] == networks.num_params(224)[i]
    assert file.num_nodes.tolist() == (networks.graphs.node_ptr[1:] - networks.graphs.node_ptr[:-1]).tolist()


def test_a_shorter_run_is_a_prefix(tmp_path: Path) -> None:
    long = NetworkFile(generate(tmp_path / "long.hdf5", "dense", num=30, workers=1))
    short = NetworkFile(generate(tmp_path / "short.hdf5", "dense", num=20, workers=1))
    assert all(long.architecture(i) == short.architecture(i) for i in range(20))


def test_dask_cluster(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    local = generate(tmp_path / "local.hdf5", "train", num=1000, workers=1)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        spread = generate(tmp_path / "dask.hdf5", "train", num=1000, scheduler=cluster.scheduler_address)
    assert content(spread) == content(local)


def test_killed_runs_are_resumed(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, num=4000, shard_size=100, kills=4)


@pytest.mark.slow
def test_twenty_killed_runs_are_resumed(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, num=100_000, shard_size=1000, kills=20)


def kill_and_resume(folder: Path, num: int, shard_size: int, kills: int) -> None:
    """Kill -9 at random moments, the parent alone or its workers too; the last run ends with the same content."""
    path, partial = folder / "x.hdf5", folder / "x.hdf5.partial"
    code = (
        "import sys; from deepnets.datasets import generation as g; g.SHARD_SIZE = int(sys.argv[3]); "
        "g.generate(sys.argv[1], 'train', num=int(sys.argv[2]), workers=2)"
    )
    command = [sys.executable, "-c", code, str(path), str(num), str(shard_size)]
    rng = random.Random(0)
    shards, resumed = num // shard_size, 0
    for kill in range(kills):
        before = len(list(partial.glob("0*.hdf5")))
        resumed += before > 0
        # So many shards more, or, the last time, into the merge.
        target = shards if kill == kills - 1 else before + rng.randint(1, max(1, (shards - before) // (kills - kill)))
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None and len(list(partial.glob("0*.hdf5"))) < target:
            assert not path.exists()  # an incomplete file never carries the final name
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        with contextlib.suppress(ProcessLookupError):
            (os.kill if kill % 2 else os.killpg)(process.pid, signal.SIGKILL)
        process.wait()
        if path.exists():  # it was quicker than the kill
            assert content(path) == whole_content(folder, num)
            path.unlink()
        if kill % 2:
            wait_for_workers_to_end(process.pid)
    assert resumed >= kills // 2
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert find_damaged_columns(path) == []
    assert content(path) == whole_content(folder, num)
    assert {p.name for p in folder.iterdir()} == {"x.hdf5", "whole.hdf5"}


def wait_for_workers_to_end(group: int) -> None:
    """Workers whose parent was killed end by themselves."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("workers outlived their parent")


def whole_content(folder: Path, num: int) -> str:
    whole = folder / "whole.hdf5"
    return content(whole if whole.exists() else generate(whole, "train", num=num, workers=1))


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A run of 500 networks that stopped after 3 of 5 shards, and the content that it will have."""
    path = folder / "x.hdf5"
    expected = content(generate(folder / "whole.hdf5", "val", num=500, workers=1))
    interrupt_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        generate(path, "val", num=500, workers=1)
    monkeypatch.undo()
    monkeypatch.setattr(generate_module, "SHARD_SIZE", 100)
    return path, expected


def test_damaged_shards_and_torn_lines_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, expected = interrupted(tmp_path, monkeypatch)
    folder = tmp_path / "x.hdf5.partial"
    shards = sorted(folder.glob("*.hdf5"))
    assert len(shards) == 3
    shards[0].write_bytes(shards[0].read_bytes()[:5000])
    manifest = folder / "manifest.jsonl"
    manifest.write_text(manifest.read_text()[:-20])
    assert content(generate(path, "val", num=500, workers=1)) == expected


def test_a_shard_that_changed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit, which only the checksum of its column shows."""
    path, expected = interrupted(tmp_path, monkeypatch)
    with h5py.File(min((tmp_path / "x.hdf5.partial").glob("*.hdf5")), "r+") as opened:
        column = opened["graphs/op"]
        column[0] = column[0] ^ 1
    with pytest.raises(FileError, match="graphs/op does not match its checksum; give the same command again"):
        generate(path, "val", num=500, workers=1)
    assert content(generate(path, "val", num=500, workers=1)) == expected


def interrupt_after(monkeypatch: pytest.MonkeyPatch, shards: int) -> None:
    real = generate_module.shard_columns
    done: list[object] = []

    def stopping(*args: Any) -> object:
        if len(done) == shards:
            raise KeyboardInterrupt
        done.append(args)
        return real(*args)

    monkeypatch.setattr(generate_module, "shard_columns", stopping)


def test_a_run_with_other_settings_is_not_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.hdf5"
    interrupt_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        generate(path, "val", num=300, workers=1)
    with pytest.raises(FileError, match=r"unfinished run with seed=0 instead of 9; continue it"):
        generate(path, "val", num=300, seed=9, workers=1)
    monkeypatch.undo()
    generate(path, "val", num=300, seed=9, workers=1, overwrite=True)
    assert ColumnFile(path).header.seed == 9


def test_leftovers_are_tidied_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, partial = tmp_path / "x.hdf5", tmp_path / "x.hdf5.partial"

    def last(*args: Any) -> None:
        move_into_place(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(sharded_file, "move_into_place", last)  # stopped before tidying up
    with pytest.raises(KeyboardInterrupt):
        generate(path, "val", num=20, workers=1)
    monkeypatch.setattr(sharded_file, "move_into_place", move_into_place)
    expected = path.read_bytes()
    with pytest.raises(FileExistsError):
        generate(path, "val", num=20, workers=1, compress=True)
    assert partial.exists()  # of another plan
    generate(path, "val", num=20, workers=1)
    assert not partial.exists()
    assert path.read_bytes() == expected
    with pytest.raises(FileExistsError):
        generate(path, "val", num=20, workers=1)


def test_a_refused_run_keeps_what_another_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = generate(tmp_path / "x.hdf5", "val", num=300, workers=1)
    interrupt_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        generate(path, "val", num=300, workers=1, overwrite=True)
    with pytest.raises(FileExistsError):
        generate(path, "val", num=300, workers=1)
    assert len(list((tmp_path / "x.hdf5.partial").glob("0*.hdf5"))) == 2


@pytest.mark.parametrize("line", ["null", '{"start": null, "stop": 1, "content_sha256": "x"}', "\xff", "[]"])
def test_garbage_in_the_partial_folder(tmp_path: Path, line: str) -> None:
    partial = tmp_path / "x.hdf5.partial"
    partial.mkdir()
    plan = sharded_file.ShardPlan("val", 20, 0, False, 100)
    (partial / "plan.json").write_text(json.dumps(asdict(plan)))
    (partial / "manifest.jsonl").write_bytes(line.encode("latin-1"))
    generate(tmp_path / "x.hdf5", "val", num=20, workers=1)
    partial.mkdir()
    (partial / "plan.json").write_text('{"split": "va')
    generate(tmp_path / "x.hdf5", "val", num=20, workers=1, overwrite=True)


def test_a_killed_worker_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate_module, "shard_columns", kill_myself)
    with pytest.raises(FileError, match="a worker was killed"):
        generate(tmp_path / "x.hdf5", "val", num=500, workers=2)


@pytest.mark.parametrize(
    "line", ['{"start": 0, "stop": 1e400, "content_sha256": "x", "notes": {}}', "[" * 100_000, '{"notes": 1}']
)
def test_a_hostile_manifest(tmp_path: Path, line: str) -> None:
    test_garbage_in_the_partial_folder(tmp_path, line)


def stopped_when_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a run that was stopped when all shards were merged."""
    with monkeypatch.context() as patch:
        patch.setattr(sharded_file, "move_into_place", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            generate(tmp_path / "x.hdf5", "val", num=20, workers=1)
    return tmp_path / "x.hdf5.partial"


def test_what_an_earlier_run_merged_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merged = stopped_when_merged(tmp_path, monkeypatch) / "whole.hdf5"
    for broken in (b"junk", merged.read_bytes().replace(b"cells", b"CELLS")):
        merged.write_bytes(broken)
        path = generate(tmp_path / "x.hdf5", "val", num=20, workers=1)
        assert not find_damaged_columns(path)
        assert content(path) == content(generate(tmp_path / "y.hdf5", "val", num=20, workers=1, overwrite=True))
        path.unlink()
        merged = stopped_when_merged(tmp_path, monkeypatch) / "whole.hdf5"


def test_shards_of_another_split_are_not_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped_when_merged(tmp_path, monkeypatch)
    (tmp_path / "other").mkdir()
    other = stopped_when_merged(tmp_path / "other", monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(sharded_file, "move_into_place", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            generate(tmp_path / "other" / "x.hdf5", "test", num=20, workers=1, overwrite=True)
    for name in ("manifest.jsonl", "000000000-000000020.hdf5"):
        (folder / name).write_bytes((other / name).read_bytes())
    path = generate(tmp_path / "x.hdf5", "val", num=20, workers=1)
    assert ColumnFile(path).header.split == "val"
    assert content(path) == content(generate(tmp_path / "y.hdf5", "val", num=20, workers=1))


@pytest.mark.parametrize("name", ["lock", "plan.json", "manifest.jsonl", "whole.hdf5"])
def test_links_in_the_partial_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = stopped_when_merged(tmp_path, monkeypatch)
    (folder / name).unlink()
    (folder / name).symlink_to(victim)
    with pytest.raises(FileError, match="no unfinished run has written"):
        generate(tmp_path / "x.hdf5", "val", num=20, workers=1)
    assert victim.read_text() == "precious"


def test_folders_of_somebody_else(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for path in (mine / "a.hdf5", mine / "000000000-000000020.hdf5"):
        path.write_text("precious")
    (tmp_path / "x.hdf5.partial").symlink_to(mine)
    with pytest.raises(FileError, match=r"x\.hdf5\.partial is a link"):
        generate(tmp_path / "x.hdf5", "val", num=20, workers=1)
    mine.rename(tmp_path / "y.hdf5.partial")
    for overwrite in (False, True):
        with pytest.raises(FileError, match="no unfinished run has written"):
            generate(tmp_path / "y.hdf5", "val", num=20, workers=1, overwrite=overwrite)
    assert [path.read_text() for path in (tmp_path / "y.hdf5.partial").glob("*.hdf5")] == ["precious"] * 2


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "a")
    with pytest.raises(FileError, match="links lead in a circle"):
        generate(tmp_path / "a" / "x.hdf5", "val", num=20, workers=1)


@pytest.mark.parametrize("round_", range(2))
def test_a_command_replaces_a_killed_worker(tmp_path: Path, round_: int) -> None:
    """The command treats SIGTERM as Ctrl-C, which its workers must not."""
    command = [sys.executable, "-m", "deepnets.cli", "generate", "--split", "train", "--num", "25000", "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--root", tmp_path], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while len(pids := children.read_text().split()) < 2:
        time.sleep(0.05)
    time.sleep(0.3 * round_)
    os.kill(int(pids[round_]), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "a worker was killed; another one takes over its work" in errors
    assert ColumnFile(tmp_path / "deepnets1m_train.hdf5").header.num_networks == 25000


def kill_myself(*args: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    code = (
        "import sys, time; from deepnets.storage.sharded_file import ShardedFile, ShardPlan; from pathlib import Path\n"
        "with ShardedFile(Path(sys.argv[1]), ShardPlan('val', 10, 0, False, 100)).locked(False):\n"
        "    print('locked', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.hdf5")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(FileError, match="another process is making"):
            generate(tmp_path / "x.hdf5", "val", num=10)
        os.link(generate(tmp_path / "y.hdf5", "val", num=10), tmp_path / "x.hdf5")  # which the other is to replace
        with pytest.raises(FileExistsError):
            generate(tmp_path / "x.hdf5", "val", num=10)
        assert (tmp_path / "x.hdf5.partial" / "lock").exists()
        other.kill()


def test_data_sets_wait_for_each_other(tmp_path: Path) -> None:
    """Two processes open a split that is not there: the second waits until the first has made it."""
    code = (
        "import sys; from deepnets.datasets import generation; write = generation._write_shards\n"
        "def slowly(*args):\n"
        "    print('locked', flush=True); sys.stdin.readline(); write(*args)\n"
        "generation._write_shards, generation.SHARD_SIZE = slowly, 100\n"
        "from deepnets import DeepNets1M; print(len(DeepNets1M(sys.argv[1], 'val', num=10)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline().startswith("generating")
        assert other.stdout.readline() == "locked\n"
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(DeepNets1M, tmp_path, "val", num=10)
            with pytest.raises(TimeoutError):
                second.result(0.5)
            other.stdin.write("\n")
            other.stdin.flush()
            assert len(second.result(60)) == 10
        assert other.stdout.read().endswith("10\n")


def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "_CONNECT_SECONDS", 1)
    path = generate(tmp_path / "x.hdf5", "val", num=5)
    before = content(path)
    with pytest.raises(FileExistsError, match="exists already"):
        generate(path, "val", num=6)
    assert content(path) == before
    assert content(generate(path, "val", num=6, overwrite=True)) != before
    for arguments, message in (
        ({"split": "foo"}, "there is no split 'foo'"),
        ({"split": "val", "num": 0}, "num is 0; it must be 1 or more"),
        ({"split": "val", "num": -3}, "num is -3"),
        ({"split": "val", "num": 10**13}, "num is 10000000000000; it must be at most"),
        ({"split": "val", "workers": 0}, "workers is 0"),
        ({"split": "val", "seed": -1}, "seed is -1"),
        (
            {"split": "val", "scheduler": "tcp://127.0.0.1:1"},
            "no Dask scheduler|needs the extra 'cluster'",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            generate(tmp_path / "y.hdf5", **arguments)


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/proc/mounts").exists(), reason="only root can mount")
def test_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        with pytest.raises(FileError, match="the disk is full"):
            generate(disk / "x.hdf5", "train", num=1000, workers=1)
        assert not (disk / "x.hdf5").exists()
        finished = [shard.name for shard in (disk / "x.hdf5.partial").glob("0*.hdf5")]
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        generate(disk / "x.hdf5", "train", num=1000, workers=1)
        assert finished
        assert content(disk / "x.hdf5") == content(generate(tmp_path / "y.hdf5", "train", num=1000))
    finally:
        subprocess.run(["umount", disk], check=True)
