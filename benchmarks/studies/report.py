"""The folder of a study: its tables as CSV, its pictures as PNG, and report.json, which says where they come from.

The report comes last, so a study without it is not finished. Finished studies are never computed again: their folder is
named after all that decides the results.
"""

import hashlib
import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.initializers.ghn import Predictor
from benchmarks.studies.study import Case, Findings, Study, Tables
from deepnets.utils import provenance
from deepnets.utils.atomic_files import atomic_write, write_json
from deepnets.utils.figures import save_figure
from deepnets.utils.run_directory import RunDirectory, read_identity
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.images.datasets import ImageTask

REPORT = "report.json"


@dataclass(frozen=True, eq=False)
class Request:
    """A study to be made.

    Args:
        study, settings: which one, and its options.
        predictor: the GHN.
        images: what the networks see, if the study needs it.
        seed, image_size, orth_layer: as for `Case`.
        command: what the user typed.
    """

    study: Study[Any]
    settings: Any
    predictor: Predictor
    images: ImageTask | None
    seed: int
    image_size: int
    orth_layer: int
    command: Sequence[str]

    def identity(self) -> dict[str, Any]:
        """All that decides the results but the code and the computer."""
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self.settings).items()}
        images = self.images and {"name": self.images.name, "sha256": self.images.hashes()}
        return {
            "study": {"name": self.study.name, "version": self.study.version, "settings": settings},
            "inputs": {path.name: _sha256(path) for path in self.study.inputs(self.settings)},
            "images": images,
            "model": {"name": self.predictor.name, "weights_sha256": self.predictor.weights_sha256},
            "orth_layer": self.orth_layer,
            "image_size": self.image_size,
            "seed": self.seed,
        }


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return checkpoints.sha256(path)


def folder_name(identity: dict[str, Any]) -> str:
    """NAME-MODEL-HASH."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return "-".join((identity["study"]["name"], identity["model"]["name"], digest[:8]))


def make(request: Request, out: Path | None = None) -> tuple[Path, str]:
    """Make a study, unless it is there already.

    Args:
        request: which study of what.
        out: its folder; by default results/NAME-MODEL-HASH.

    Returns:
        The report, and the summary for people.

    Raises:
        ValueError: settings or inputs that cannot be used.
        FileError: the folder has another study, or another process works on this one.
    """
    identity = json.loads(json.dumps(request.identity()))
    folder = out or Path("results") / folder_name(identity)
    with RunDirectory(folder, identity, "study").locked():
        report = folder / REPORT
        tables = _finished(report, identity) if report.exists() else _compute(request, folder, identity)
    return report, request.study.summary(tables)


def _finished(report: Path, identity: dict[str, Any]) -> Tables:
    """The tables of a finished study."""
    found = read_identity(report, identity, "study")
    return {name: pd.read_csv(report.with_name(f"{name}.csv")) for name in found["tables"]}


def _compute(request: Request, folder: Path, identity: dict[str, Any]) -> Tables:
    start = time.perf_counter()
    device = next(request.predictor.ghn.parameters()).device
    case = Case(
        name=request.predictor.name,
        ghn=request.predictor.ghn,
        seed=request.seed,
        image_size=request.image_size,
        orth_layer=request.orth_layer,
        folder=folder,
        images=request.images,
    )
    findings: Findings = request.study.run(case, request.settings)
    written = {
        f"{name}.csv": table.to_csv(index=False, lineterminator="\n").encode()
        for name, table in findings.tables.items()
    }
    for name, content in written.items():
        atomic_write(folder / name, content)
    for name, figure in findings.figures.items():
        save_figure(figure, folder / f"{name}.png")
    report = {
        **identity,
        "tables": {name: hashlib.sha256(written[f"{name}.csv"]).hexdigest() for name in findings.tables},
        "figures": [f"{name}.png" for name in findings.figures],
        "environment": {**provenance.versions(), **provenance.machine(str(device))},
        "commit": provenance.commit(),
        "command": shlex.join(request.command),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(time.perf_counter() - start, 1),
    }
    write_json(folder / REPORT, report, allow_nan=False)
    return {name: pd.read_csv(folder / f"{name}.csv") for name in findings.tables}
