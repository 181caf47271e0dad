"""The leaderboards: submit results, check them, measure them again, and write the tables and the page.

    python -m benchmarks.leaderboard submit results/RUN_ID     check a run, copy it to leaderboards/, update the tables
    python -m benchmarks.leaderboard check                     check all records and tables; CI does
    python -m benchmarks.leaderboard verify RUN_ID --num 5     evaluate some of its networks again and compare
    python -m benchmarks.leaderboard render                    write the tables and the page again

`leaderboards/runs` has the records, which are the truth; all other files there are made from them and from published
results.
"""

# The commands import what they need when they run, so that --help is quick.
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, subcommand

from deepnets.utils.command_line import run_command

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

    def run(self) -> int:
        """Print what is wrong; return 1 if anything is."""
        from benchmarks.reporting.leaderboard_folder import LeaderboardFolder

        board = LeaderboardFolder(self.root)
        problems = list(board.problems())
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
    num: int = 5
    """Number of networks, a random sample."""
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
    mark: bool = False
    """Mark the record as verified if all networks agree, and update the tables; for maintainers."""

    def run(self) -> int:
        """Print both results of each network; return 1 if any differ."""
        from benchmarks.records.verification import LocalInputs, compare_again, mean_difference
        from benchmarks.reporting.leaderboard_folder import LeaderboardFolder
        from ghn_models.utils.device import check_device

        if self.num < 1:
            raise ValueError(f"num is {self.num}; it must be 1 or more")
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must be 0 or more")
        check_device(self.device)
        board = LeaderboardFolder(self.root)
        record, table = board.checked_record(self.run_id)
        inputs = LocalInputs(self.weights, self.truth, self.data_dir, self.device)
        seed = secrets.randbits(32) if self.seed is None else self.seed
        results = []
        for result in compare_again(record, table, inputs, self.num, seed):
            end = "" if result.agrees else "  DIFFERS"
            print(f"{result.name:<12} recorded {result.recorded}; measured {result.measured}{end}")
            results.append(result)
        tolerance, agree = results[0].tolerance, sum(result.agrees for result in results)
        shift = mean_difference(results)
        print(f"{agree} of {len(results)} networks agree (tolerance {100 * tolerance:g} points)")
        print(f"mean difference {100 * shift:.2f} points (tolerance {100 * tolerance / 3:.2g}), seed {seed}")
        right = agree == len(results) and shift <= tolerance / 3
        if self.mark and right:
            board.mark_verified(record)
        return 0 if right else 1


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
    | Annotated[Render, subcommand("render")]
)


def main() -> int:
    """Run the command and return its exit code: 1 if what it checks is wrong, and see `run_command`."""
    return run_command(lambda: tyro.cli(_Command, prog="python -m benchmarks.leaderboard", description=__doc__).run())


if __name__ == "__main__":
    sys.exit(main())
