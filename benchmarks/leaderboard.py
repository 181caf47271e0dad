"""The leaderboards: results are handed in, checked and shown.

    python -m benchmarks.leaderboard submit results/RUN_ID     check a run, copy it to leaderboards/, update the tables
    python -m benchmarks.leaderboard check                     check all records and tables; CI does
    python -m benchmarks.leaderboard verify RUN_ID --num 5     evaluate some of its networks again and compare
    python -m benchmarks.leaderboard render                    write the tables and the page again

`leaderboards/runs` has the records, which are the truth; all other files there are made from them and from published
results.
"""

import json
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tyro.conf import Positional, subcommand

from benchmarks.core.protocol import Protocol
from benchmarks.execution.jobs import Job, Plan, context, evaluate
from benchmarks.initializers._ghn import SUFFIX
from benchmarks.initializers._pretrained import PREFIX, TRAINED
from benchmarks.protocols import PROTOCOLS
from benchmarks.protocols.nas import is_file_of_truth
from benchmarks.records import validation as checks
from benchmarks.records.record import Record, RecordError, frame, in_folder, plan_jobs, read, write
from benchmarks.reporting.html_page import page
from benchmarks.reporting.tables import leaderboard, to_csv, to_markdown
from benchmarks.scoring.scorers import SCORES, by_accuracy
from deepnets.utils.cli_errors import exit_code
from ghn_models.utils.device import check_device

_ROOT = Path("leaderboards")
_DATASETS = "datasets.json"
_VERIFIED = "verified.json"


class Board:
    """A folder of leaderboards.

    Args:
        root: with runs/ and datasets.json.

    Raises:
        RecordError: the folder is none.
    """

    def __init__(self, root: Path) -> None:
        if not (root / _DATASETS).is_file():
            raise RecordError(f"{root} is no folder of leaderboards: it has no {_DATASETS} (give another --root)")
        self.root, self.runs = root, root / "runs"
        self.datasets = self._json(_DATASETS)
        if not all(isinstance(sizes, dict) for sizes in self.datasets.values()):
            raise RecordError(f"{root / _DATASETS} must have sha256 by name of data and image size")
        self.verified = self._json(_VERIFIED)

    def _json(self, name: str) -> dict[str, Any]:
        path = self.root / name
        try:
            content = json.loads(path.read_text()) if path.exists() else {}
        except ValueError as error:
            raise RecordError(f"{path} cannot be read ({error})") from None
        if not isinstance(content, dict):
            raise RecordError(f"{path} is no JSON object")
        return content

    def paths(self) -> list[Path]:
        """Files of records."""
        return sorted(self.runs.glob("*.json"))

    def records(self) -> list[tuple[Record, bytes]]:
        """All records and their tables.

        Raises:
            RecordError: one cannot be read.
        """
        found = [read(path) for path in self.paths()]
        for record, _ in found:
            if record["rows_sha256"] == self.verified.get(record["run_id"]):
                record["status"] = "verified"
        return found

    def render(self) -> dict[str, str]:
        """Contents of the generated files by name."""
        found = self.records()
        boards = {name: leaderboard(name, [record for record, _ in found]) for name in PROTOCOLS}
        guide = (Path(__file__).parent / "reporting" / "guide.md").read_text()
        tables = [f"## {name}: {PROTOCOLS[name].about}\n\n{to_markdown(name, lines)}" for name, lines in boards.items()]
        return {
            **{f"{name}.csv": to_csv(name, lines) for name, lines in boards.items()},
            "README.md": "\n".join([guide, *tables]),
            "index.html": page(boards, found),
        }

    def write(self) -> list[Path]:
        """Write the generated files again."""
        contents = self.render()
        for name, content in contents.items():
            (self.root / name).write_text(content)
        return [self.root / name for name in contents]

    def problems(self) -> Iterator[str]:
        """What is wrong with records and tables, a sentence each."""
        wrong = list(self.wrong_records())
        yield from wrong
        yield from self._unexpected()
        if wrong:
            return  # tables cannot be made of such records
        for name, content in self.render().items():
            path = self.root / name
            if not path.exists() or path.read_bytes() != content.encode():
                yield f"{path} is not what the records give; `python -m benchmarks.leaderboard render` writes it"

    def wrong_records(self) -> Iterator[str]:
        """What is wrong with records, a sentence each."""
        records = []
        for path in self.paths():
            try:
                record, table = read(path)
            except RecordError as error:
                yield str(error)
                continue
            found = checks.problems(record, table, self.datasets)
            if not found and path.name != f"{record['run_id']}.json":
                found = [f"it is a duplicate of {record['run_id']}, or has the wrong file name"]
            yield from (f"{path.name}: {problem}" for problem in found)
            records += [] if found else [record]
        yield from (f"{name}: {problem}" for name, problem in checks.clashes(records))
        known = {record["run_id"]: record["rows_sha256"] for record in records}
        for run_id, rows_sha256 in self.verified.items():
            if known.get(run_id) != rows_sha256:
                yield f"{_VERIFIED} has {run_id!r}, of which there is no such record"

    def require_right_records(self) -> None:
        """Raise RecordError if a record is wrong: tables cannot be made of it."""
        for problem in self.wrong_records():
            raise RecordError(f"a record of the leaderboards is wrong: {problem}")

    def _unexpected(self) -> Iterator[str]:
        wanted = {name for path in self.paths() for name in (path.name, path.name.removesuffix(".json") + ".csv.gz")}
        for path in sorted(self.runs.iterdir()) if self.runs.is_dir() else []:
            if path.name not in wanted:
                yield f"{path} belongs to no record"


@dataclass(frozen=True)
class Submit:
    """Check a run, copy its record to the leaderboards and update the tables."""

    folder: Positional[Path]
    """Folder of a finished run."""
    root: Path = _ROOT
    """Folder of the leaderboards."""

    def run(self) -> int:
        """Hand the record in and say what to do with it."""
        board = Board(self.root)
        source = in_folder(self.folder)
        record, table = read(source)
        target = board.runs / f"{record.get('run_id')}.json"
        if target.exists():
            raise RecordError(f"{target.name} is on the leaderboard already")
        wrong = checks.problems(record, table, board.datasets)
        if wrong:
            raise RecordError(f"{source.name}: {wrong[0]}")
        board.require_right_records()
        others = [other for other, _ in board.records()]
        wrong += [problem for name, problem in checks.clashes([*others, record]) if name == record.get("run_id")]
        if wrong:
            raise RecordError(f"{source.name}: {wrong[0]}")
        self._remember_data(board, record)
        written = [write(board.runs, record, table), board.root / _DATASETS, *board.write()]
        print(f"{record['run_id']} is in {board.root}. To hand it in, fork the repository and open a pull request:\n")
        print(f"git checkout -b {record['run_id']}")
        print(f"git add {board.runs / record['run_id']}.* {' '.join(map(str, written[1:]))}")
        print(f"git commit -m 'Results: {record['model']['name']}, {record['protocol']['name']}'")
        print(f"git push origin {record['run_id']}")
        return 0

    def _remember_data(self, board: Board, record: Record) -> None:
        """The first record of a data set says what the others have to be measured on."""
        data = record["dataset"]
        sizes = board.datasets.setdefault(data["name"], {})
        if str(data["image_size"]) not in sizes:
            sizes[str(data["image_size"])] = data["sha256"]
            (board.root / _DATASETS).write_text(json.dumps(board.datasets, indent=1, sort_keys=True) + "\n")


@dataclass(frozen=True)
class Check:
    """Check all records and tables."""

    root: Path = _ROOT
    """Folder of the leaderboards."""

    def run(self) -> int:
        """Print what is wrong; 1 if anything is."""
        board = Board(self.root)
        found = list(board.problems())
        for problem in found:
            print(problem)
        print(f"{len(board.paths())} records, {len(found)} problems")
        return 1 if found else 0


@dataclass(frozen=True)
class Verify:
    """Evaluate some networks of a record again and compare; data and weights have to be at hand."""

    run_id: Positional[str]
    """Which record."""
    root: Path = _ROOT
    """Folder of the leaderboards."""
    num: int = 5
    """Number of networks, drawn at random."""
    seed: int | None = None
    """Of the draw, which nobody can foresee by default."""
    weights: Path | None = None
    """The model, if it is not shipped: folder of a GHN's checkpoint, trained weights, or CSV file of scores."""
    truth: Path | None = None
    """CSV file of the truth, if it was one."""
    data_dir: Path | None = None
    """Folder of the images; digits need none."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    mark: bool = False
    """Mark the record as verified if all agree, and update the tables; for maintainers."""

    def run(self) -> int:
        """Print both results of each network; 1 if any differ."""
        if self.num < 1:
            raise RecordError(f"num is {self.num}; it must be 1 or more")
        if self.seed is not None and self.seed < 0:
            raise RecordError(f"seed is {self.seed}; it must be 0 or more")
        check_device(self.device)
        board = Board(self.root)
        record, table = read(board.runs / f"{self.run_id}.json")
        wrong = checks.problems(record, table, board.datasets)
        if wrong:
            raise RecordError(f"{self.run_id}: {wrong[0]}")
        plan = self._plan(record)
        kind, rows = PROTOCOLS[plan.protocol], frame(table)
        jobs = plan_jobs(record)
        seed = secrets.randbits(32) if self.seed is None else self.seed
        rng = np.random.default_rng(seed)
        chosen = sorted(rng.choice(len(jobs), min(self.num, len(jobs)), replace=False).tolist())
        results = [self._differences(plan, jobs[i], rows.iloc[i].to_dict()) for i in chosen]
        differ = sum(max(map(abs, result)) > kind.tolerance for result in results)
        shift = float(np.abs(np.mean(results, axis=0)).max())
        print(f"{len(chosen) - differ} of {len(chosen)} networks agree (tolerance {100 * kind.tolerance:g} points)")
        print(f"mean difference {100 * shift:.2f} points (tolerance {100 * kind.tolerance / 3:.2g}), seed {seed}")
        right = not differ and shift <= kind.tolerance / 3
        if self.mark and right:
            board.verified[record["run_id"]] = record["rows_sha256"]
            (board.root / _VERIFIED).write_text(json.dumps(board.verified, indent=1, sort_keys=True) + "\n")
            board.write()
        return 0 if right else 1

    def _plan(self, record: Record) -> Plan:
        kind = PROTOCOLS[record["protocol"]["name"]]
        plan = Plan(
            protocol=kind.name,
            settings=self._settings(kind, record["protocol"]["settings"]),
            model=self._model(record["model"]["name"]),
            dataset=record["dataset"]["name"],
            groups=tuple(record["networks"]),
            data_dir=None if self.data_dir is None else str(self.data_dir),
            image_size=record["dataset"]["image_size"],
            seed=record["seed"],
            repeats=record["repeats"],
            orth_layer=record["model"]["orth_layer"],
            device=self.device,
        )
        here = context(plan)
        if here.initializer.weights_sha256 != record["model"]["weights_sha256"]:
            raise RecordError(f"the weights at hand have another sha256 than those of {self.run_id}")
        if here.task.hashes() != record["dataset"]["sha256"]:
            raise RecordError(f"the images at hand have other sha256 than those of {self.run_id}")
        return plan

    def _model(self, name: str) -> str:
        if self.weights is not None:
            prefix = PREFIX * name.startswith(TRAINED)
            return f"{prefix}{self.weights}{SUFFIX * name.endswith(SUFFIX)}"
        if name.startswith((TRAINED, SCORES)):
            raise RecordError(f"{name} is a file that its owner has; give it as --weights")
        return name

    def _settings(self, kind: Protocol, recorded: dict[str, Any]) -> Any:
        wanted, truth = kind.read_settings(recorded), recorded.get("truth", "")
        if not is_file_of_truth(truth):
            if self.truth is not None:
                raise RecordError(f"{self.run_id} has no file of truth, so --truth is of no use")
            return wanted
        if self.truth is None:
            raise RecordError(f"its truth is the file {truth.split()[0]}; give it as --truth")
        own = replace(wanted, truth=str(self.truth))
        if kind.recorded(own) != wanted:
            raise RecordError(f"{self.truth} is not the truth of {self.run_id}, which is {truth}")
        return own

    def _differences(self, plan: Plan, job: Job, recorded: dict[str, Any]) -> list[float]:
        """By how much each result is off; 1 if the network failed in one of the two measurements only.

        Scores of proxies have any size, so they are compared relatively; so are values above 1.
        """
        row, kind = evaluate(plan, job), PROTOCOLS[plan.protocol]
        failed = [r["status"] == "failed" for r in (recorded, row)]
        if any(failed):
            differences = [float(failed[0] != failed[1])] * len(kind.compared)
            texts = [f"failed ({r['reason']})" if r["status"] == "failed" else "ok" for r in (recorded, row)]
        else:
            pairs = [(float(row[name]), float(recorded[name])) for name in kind.compared]
            least = 1.0 if context(plan).scorer is by_accuracy else sys.float_info.min
            differences = [(new - old) / max(least, abs(old), abs(new)) for new, old in pairs]
            texts = [", ".join(f"{name} {float(r[name]):.4g}" for name in kind.compared) for r in (recorded, row)]
        wrong = max(map(abs, differences)) > kind.tolerance
        print(f"{row['name']:<12} recorded {texts[0]}; measured {texts[1]}{'  DIFFERS' if wrong else ''}")
        return differences


@dataclass(frozen=True)
class Render:
    """Write the tables and the page again."""

    root: Path = _ROOT
    """Folder of the leaderboards."""

    def run(self) -> int:
        """Write the generated files."""
        board = Board(self.root)
        board.require_right_records()
        for path in board.write():
            print(path)
        return 0


_Command = (
    Annotated[Submit, subcommand("submit")]
    | Annotated[Check, subcommand("check")]
    | Annotated[Verify, subcommand("verify")]
    | Annotated[Render, subcommand("render")]
)


def main() -> int:
    """The command; 1 if something is wrong with what it checks, and see `exit_code`."""
    return exit_code(lambda: tyro.cli(_Command, prog="python -m benchmarks.leaderboard", description=__doc__).run())


if __name__ == "__main__":
    sys.exit(main())
