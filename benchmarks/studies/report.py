"""The folder of a study: tables as CSV, pictures as PNG, and report.json, which says how they were computed.

The report is written last, so a study without it is not finished. The folder is named after all that decides the
results, so a finished study is never computed again.
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
from benchmarks.studies.study import Findings, Study, StudyCase, Tables
from deepnets.utils import provenance
from deepnets.utils.atomic_files import atomic_write, write_json
from deepnets.utils.errors import InputError
from deepnets.utils.figures import save_figure
from deepnets.utils.run_directory import RunDirectory, read_identity
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.images.datasets import ImageTask

REPORT = "report.json"


@dataclass(frozen=True, eq=False)
class StudyRequest:
    """A study that the user asks for.

    Args:
        study, settings: the study and its options.
        predictor: the GHN.
        images: images that networks see, if the study needs them.
        seed, image_size, orth_layer: as for `StudyCase`.
        command: command line of the user.
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
        """Return all that decides the results except the code and the computer."""
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self.settings).items()}
        images = self.images and {"name": self.images.name, "sha256": self.images.hashes()}
        return {
            "study": {"name": self.study.name, "version": self.study.version, "settings": settings},
            "inputs": {path.name: _sha256(path) for path in self.study.input_files(self.settings)},
            "images": images,
            "model": {"name": self.predictor.name, "weights_sha256": self.predictor.weights_sha256},
            "orth_layer": self.orth_layer,
            "image_size": self.image_size,
            "seed": self.seed,
        }


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    return checkpoints.sha256(path)


def folder_name(identity: dict[str, Any]) -> str:
    """Return the name of a study's folder, STUDY-MODEL-HASH."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return "-".join((identity["study"]["name"], identity["model"]["name"], digest[:8]))


def run_study(request: StudyRequest, out: Path | None = None) -> tuple[Path, str]:
    """Run a study, or read its tables if it is finished already.

    Args:
        request: the study.
        out: its folder; by default results/STUDY-MODEL-HASH.

    Returns:
        The path of the report, and the summary for people.

    Raises:
        InputError: settings or inputs cannot be used.
        FileError: the folder has another study, or another process works on this one.
    """
    identity = json.loads(json.dumps(request.identity()))
    folder = (out or Path("results") / folder_name(identity)).expanduser()
    with RunDirectory(folder, identity, "study").locked():
        report = folder / REPORT
        tables = _finished(report, identity) if report.exists() else _compute(request, folder, identity)
    return report, request.study.summarize(tables)


def _finished(report: Path, identity: dict[str, Any]) -> Tables:
    """Return the tables of a finished study."""
    content = read_identity(report, identity, "study")
    return {name: pd.read_csv(report.with_name(f"{name}.csv")) for name in content["tables"]}


def _compute(request: StudyRequest, folder: Path, identity: dict[str, Any]) -> Tables:
    """Run a study and write its files, the report last; the tables are returned as read back."""
    start = time.perf_counter()
    case = StudyCase(
        name=request.predictor.name,
        ghn=request.predictor.ghn,
        seed=request.seed,
        image_size=request.image_size,
        orth_layer=request.orth_layer,
        folder=folder,
        images=request.images,
    )
    findings = request.study.run(case, request.settings)
    hashes = _write_findings(folder, findings)
    device = next(request.predictor.ghn.parameters()).device
    report = {
        **identity,
        "tables": hashes,
        "figures": [f"{name}.png" for name in findings.figures],
        "environment": {**provenance.versions(), **provenance.machine(str(device))},
        "commit": provenance.commit(),
        "command": shlex.join(request.command),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(time.perf_counter() - start, 1),
    }
    write_json(folder / REPORT, report, allow_nan=False)
    return {name: pd.read_csv(folder / f"{name}.csv") for name in findings.tables}


def _write_findings(folder: Path, findings: Findings) -> dict[str, str]:
    """Write tables and pictures, and return the sha256 of each table."""
    hashes = {}
    for name, table in findings.tables.items():
        content = table.to_csv(index=False, lineterminator="\n").encode()
        atomic_write(folder / f"{name}.csv", content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    for name, figure in findings.figures.items():
        save_figure(figure, folder / f"{name}.png")
    return hashes
