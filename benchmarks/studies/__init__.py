"""The studies of a model, `python -m benchmarks.run --protocol NAME`; what they share has a file of its own each."""

from benchmarks.studies import analysis, properties
from benchmarks.studies.study import Study

STUDIES: dict[str, Study] = {study.name: study for study in (properties.STUDY, analysis.STUDY)}
