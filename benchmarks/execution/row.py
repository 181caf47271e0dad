"""Rows of results: the outcome of one job."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.core.protocol import ROW_COLUMNS
from benchmarks.execution.run_config import Job


@dataclass(frozen=True)
class Row:
    """Result of a network in one repetition.

    Args:
        job: the network and the repetition.
        name: name of the network.
        params: number of parameters of the network as it was built; 0 if it could not be built.
        batch_size: number of images that were evaluated at a time.
        seconds: time that the job took.
        status: "ok" or "failed".
        reason: why the network failed, or a note; usually empty.
        values: columns of the protocol; empty if the network failed.
    """

    job: Job
    name: str
    params: int
    batch_size: int
    seconds: float
    status: Literal["ok", "failed"]
    reason: str
    values: Mapping[str, float | str] = field(default_factory=dict)

    def columns(self) -> dict[str, float | str]:
        """Return all values by column, for files."""
        return {
            "params": self.params,
            "group": self.job.group,
            "index": self.job.index,
            "repeat": self.job.repeat,
            "name": self.name,
            "batch_size": self.batch_size,
            "seconds": self.seconds,
            "status": self.status,
            "reason": self.reason,
            **self.values,
        }

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> "Row":
        """Return the row with these values.

        Raises:
            KeyError: a column is missing.
        """
        return cls(
            job=Job(columns["group"], columns["index"], columns["repeat"]),
            name=columns["name"],
            params=columns["params"],
            batch_size=columns["batch_size"],
            seconds=columns["seconds"],
            status=columns["status"],
            reason=columns["reason"],
            values={name: value for name, value in columns.items() if name not in (*ROW_COLUMNS, "seconds")},
        )
