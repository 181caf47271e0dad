"""All studies by name. To add one, write its file in this package, its options in `configs`, and a class here.

The command line lists the studies, so this module imports the code of a study only to run it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.studies.configs import AnalysisConfig, PropertiesConfig
from benchmarks.studies.study import Study

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.studies.study import Findings, StudyCase, Tables


class Properties(Study[PropertiesConfig]):
    """Study that predicts properties of networks from their graph embeddings, see `benchmarks.studies.properties`."""

    name = "properties"
    about = "properties of networks predicted from their graph embeddings"
    settings_class = PropertiesConfig

    def run(self, case: StudyCase, settings: PropertiesConfig) -> Findings:
        from benchmarks.studies import properties

        return properties.run(case, settings)

    def summarize(self, tables: Tables) -> str:
        from benchmarks.studies import properties

        return properties.summarize(tables)

    def input_files(self, settings: PropertiesConfig) -> list[Path]:
        from benchmarks.studies import properties

        return properties.input_files(settings)


class Analysis(Study[AnalysisConfig]):
    """Study of a GHN's graph embeddings and predicted weights, see `benchmarks.studies.analysis`."""

    name = "analysis"
    about = "distances between graphs; diversity, sparsity, activations, correlations of predicted parameters"
    settings_class = AnalysisConfig
    options = ("dataset", "data_dir", "orth_layer")

    def run(self, case: StudyCase, settings: AnalysisConfig) -> Findings:
        from benchmarks.studies import analysis

        return analysis.run(case, settings)

    def summarize(self, tables: Tables) -> str:
        from benchmarks.studies import analysis

        return analysis.summarize(tables)


STUDIES: dict[str, Study[Any]] = {study.name: study for study in (Properties(), Analysis())}
