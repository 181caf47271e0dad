"""The leaderboards: submit results, check them, measure them again, and write the tables and the page.

    python -m benchmarks.leaderboard submit results/RUN_ID     check a run, copy it to leaderboards/, update the tables
    python -m benchmarks.leaderboard check                     check all records and tables; CI does
    python -m benchmarks.leaderboard verify RUN_ID --num 5     evaluate some of its networks again and compare
    python -m benchmarks.leaderboard verify RUN_ID --risk 0.05 as many as find edits of 5% of them 19 times in 20
    python -m benchmarks.leaderboard verify-new origin/main    verify the records that a pull request adds
    python -m benchmarks.leaderboard render                    write the tables and the page again

`leaderboards/runs` has the records, which are the truth; all other files there are made from them and from published
results.
"""

# The commands import what they need when they run, so that --help is quick.
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional, subcommand

from deepnets.utils.command_line import command_line, run_command
from deepnets.utils.errors import InputError

if TYPE_CHECKING:
    from benchmarks.records.record import Record
    from benchmarks.records.verification import LocalInputs

_ROOT = Path("leaderboards")


@dataclass(frozen=True)
class Submit:
    """Check a run, copy its record to the leaderboards and update the tables."""

    folder: Positional[Path]
    """Folder of a finished run."""
    root: Path = _ROOT
    """Folder of the leaderboards."""

    def run(self) -> int:
        """Submit the record and print the git commands that make a pull request."""
        from benchmarks.reporting.leaderboard_folder import LeaderboardFolder

        board = LeaderboardFolder(self.root)
        record, written = board.submit(self.folder)
        print(f"{record['run_id']} is in {board.root}. To submit it, fork the repository and open a pull request:\n")
        print(f"git checkout -b {record['run_id']}")
        print(f"git add {board.runs / record['run_id']}.* {' '.join(map(str, written[1:]))}")
        print(f"git commit -m 'Results: {record['model']['name']}, {record['protocol']['name']}'")
        print(f"git push origin {record['run_id']}")
        return 0


@dataclass(frozen=True)
class Check:
    """Check all records and tables."""

    root: Path = _ROOT
    """Folder of the leaderboards."""
    base: str | None = None
    """Commit that a pull request starts from, such as origin/main; checks also that it submits nothing but records."""

    def run(self) -> int:
        """Print what is wrong; return 1 if anything is."""
        from benchmarks.reporting.leaderboard_folder import LeaderboardFolder
        from benchmarks.reporting.submission import change_problems

        board = LeaderboardFolder(self.root)
        problems = [*board.problems(), *(change_problems(self.root, self.base) if self.base else ())]
        for problem in problems:
            print(problem)
        print(f"{len(board.record_paths())} records, {len(problems)} problems")
        return 1 if problems else 0


@dataclass(frozen=True)
class Verify:
    """Evaluate some networks of a record again and compare; this needs its images and weights."""

    run_id: Positional[str]
    """Name of the record."""
    root: Path = _ROOT
    """Folder of the leaderboards."""
    num: int | None = None
    """Number of results, a random sample; 5 by default."""
    risk: float | None = None
    """Instead of --num: take the smallest sample that misses edits of --share of the results with at most this
    probability, such as 0.05."""
    share: float = 0.05
    """Share of edited results that --risk is about."""
    seed: int | None = None
    """Seed of the sample; random by default, so that submitters cannot predict it."""
    weights: Path | None = None
    """The model, if it is not shipped: folder of a GHN's checkpoint, trained weights, or CSV file of scores."""
    truth: Path | None = None
    """CSV file of the truth, for records that were measured with one."""
    data_dir: Path | None = None
    """Folder of the images; digits need none."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    networks_from: Path | None = None
    """Folder of files with networks, for records that were measured with --networks-from."""
    mark: bool = False
    """Mark the record as verified if all networks agree, and update the tables; for maintainers."""
    by: str | None = None
    """Who verified it, for --mark."""

    def run(self) -> int:
        """Print both results of each network; return 1 if any differ."""
        from benchmarks.records.detection_risk import describe_chances
        from benchmarks.records.record import record_jobs
        from benchmarks.records.verification import LocalInputs
        from benchmarks.records.verified import sign_off
        from benchmarks.reporting.leaderboard_folder import LeaderboardFolder
        from ghn_models.utils.device import check_device

        if self.seed is not None and self.seed < 0:
            raise InputError(f"seed is {self.seed}; it must be 0 or more")
        check_device(self.device)
        board = LeaderboardFolder(self.root)
        record, table = board.checked_record(self.run_id)
        total = len(record_jobs(record))
        num = self._sample_size(total)
        seed = secrets.randbits(32) if self.seed is None else self.seed
        entry = sign_off(record, self.by, seed, num) if self.mark else None  # before hours of work
        print(f"{num} results drawn at random, {describe_chances(total, num)}")
        if extra := min(num // 4, total - num):
            print(f"{extra} more of those that surprise most")
        inputs = LocalInputs(self.weights, self.truth, self.data_dir, self.device, self.networks_from)
        right = _measure_again(record, table, inputs, num, seed)
        if entry is not None and right:
            board.mark_verified(record, entry)
        return 0 if right else 1

    def _sample_size(self, total: int) -> int:
        from benchmarks.records.detection_risk import sample_size

        if self.num is not None and self.risk is not None:
            raise InputError("--num and --risk both choose the number of results; give one of them")
        if self.num is not None and self.num < 1:
            raise InputError(f"num is {self.num}; it must be 1 or more")
        return sample_size(total, self.share, self.risk) if self.risk is not None else min(self.num or 5, total)


def _measure_again(record: "Record", table: bytes, inputs: "LocalInputs", num: int, seed: int) -> bool:
    """Print both results of a random sample of networks, and return whether they agree."""
    from benchmarks.records.verification import compare_again, has_shift, largest_mean_difference

    results = []
    for result in compare_again(record, table, inputs, num, seed):
        end = "" if result.agrees else "  DIFFERS"
        print(f"{result.name:<12} recorded {result.recorded}; measured {result.measured}{end}")
        results.append(result)
    tolerance, agree = results[0].tolerance, sum(result.agrees for result in results)
    shifted = has_shift(results)
    print(f"{agree} of {len(results)} networks agree (tolerance {100 * tolerance:g} points)")
    difference = f"mean difference {100 * largest_mean_difference(results):.2f} points"
    print(f"{difference} (tolerance {100 * tolerance / 3:.2g}){', all in one direction' * shifted}, seed {seed}")
    return agree == len(results) and not shifted


@dataclass(frozen=True)
class VerifyNew:
    """Verify the records that a pull request adds, as far as their weights and images are at hand."""

    base: Positional[str]
    """Commit that the pull request starts from, such as origin/main."""
    root: Path = _ROOT
    """Folder of the leaderboards."""
    num: int = 5
    """Number of results of each record, a random sample."""
    data_dir: Path | None = None
    """Folder of the images; digits need none."""

    def run(self) -> int:
        """Print the comparisons; return 1 if any differ."""
        from benchmarks.reporting.leaderboard_folder import LeaderboardFolder
        from benchmarks.reporting.submission import missing_input, new_records

        board, codes = LeaderboardFolder(self.root), [0]
        for run_id in new_records(self.root, self.base):
            missing = missing_input(board.checked_record(run_id)[0], self.data_dir)
            print(f"{run_id}: {f'not measured again, for want of {missing}' if missing else 'measured again'}")
            if not missing:
                codes.append(Verify(run_id, self.root, self.num, data_dir=self.data_dir).run())
        return max(codes)


@dataclass(frozen=True)
class Render:
    """Write the tables and the page again."""

    root: Path = _ROOT
    """Folder of the leaderboards."""

    def run(self) -> int:
        """Write the generated files and print their names."""
        from benchmarks.reporting.leaderboard_folder import LeaderboardFolder

        board = LeaderboardFolder(self.root)
        board.require_right_records()
        for path in board.write_generated_files():
            print(path)
        return 0


_Command = (
    Annotated[Submit, subcommand("submit")]
    | Annotated[Check, subcommand("check")]
    | Annotated[Verify, subcommand("verify")]
    | Annotated[VerifyNew, subcommand("verify-new")]
    | Annotated[Render, subcommand("render")]
)


def main() -> int:
    """Run the command and return its exit code: 1 if what it checks is wrong, and see `run_command`."""
    return run_command(
        lambda: tyro.cli(
            _Command, args=command_line(), prog="python -m benchmarks.leaderboard", description=__doc__
        ).run()
    )


if __name__ == "__main__":
    sys.exit(main())
