"""Results that the papers print, as rows of leaderboards.

    ppuda2021      Knyazev et al., 2021: Parameter Prediction for Unseen Deep Architectures (DeepNets-1M, GHN-2)
    ghn3_2023      Knyazev et al., 2023: Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?
    ghnorth_2022   Knyazev, 2022: Pretraining a Neural Network before Knowing Its Architecture (GHN-orth)

`data/paper_tables.csv.gz` has one line for each printed number, parsed from the texts of the papers. Only numbers of
the kind that a protocol measures become rows: averages over a whole split, or results of a single network.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from benchmarks.published_results.correlations import correlation_rows
from benchmarks.published_results.per_network import DATA_DIR

_GROUPS = {
    **{f"deepnets1m/{split}": split for split in ("val", "test", "wide", "deep", "dense", "bnfree", "all")},
    "deepnets1m-top10": "top10",
    "pytorch74": "torchvision74",
    "pytorch-top10": "torchvision74_top10",
    "ResNet-50": "resnet50",
    "ViT": "vit",
    "DARTS": "darts",
    "ConvNeXt-B": "convnext_base",
    "Swin-T": "swin_t",
    "ResNet-101": "resnet101",
    "ResNet-152": "resnet152",
}
SINGLE_NETWORKS = ("resnet50", "vit", "darts", "convnext_base", "swin_t", "resnet101", "resnet152")
_PROTOCOLS = {
    "no_finetune": ("no_finetune", ""),
    "sgd_1k_steps": ("finetune", "0.1 epoch"),
    "sgd_1ep": ("finetune", "1 epoch"),
    "sgd_10ep": ("finetune", "10 epochs"),
    "transfer": ("transfer", "100 labels per class"),  # of CIFAR-10, see _SETTINGS
    "detection": ("detection", "10 epochs"),
}
# Tables with results of whole splits, and the group that they add, if not all of it is new. Other tables have subsets
# of these results, or other settings.
_TABLES = {
    ("no_finetune", "ppuda2021", "3"): "",
    ("no_finetune", "ppuda2021", "4"): "",
    ("no_finetune", "ppuda2021", "8"): "",
    ("no_finetune", "ghn3_2023", "2"): "",
    ("no_finetune", "ghn3_2023", "11"): "",
    ("no_finetune", "ghn3_2023", "12"): "pytorch74",
    ("finetune", "ppuda2021", "3"): "",
    ("finetune", "ppuda2021", "4"): "",
    ("finetune", "ghn3_2023", "2"): "",
    ("finetune", "ghn3_2023", "11"): "",
    ("finetune", "ghn3_2023", "12"): "pytorch74",
    ("transfer", "ppuda2021", "6"): "",
    ("transfer", "ghn3_2023", "7"): "",
    ("transfer", "ghnorth_2022", "1"): "",
    ("detection", "ppuda2021", "6"): "",
    ("detection", "ghn3_2023", "8"): "",
}
_METRICS = {
    "top1_acc_mean": "top1",
    "top1_acc": "top1",
    "top5_acc_mean": "top5",
    "top5_acc": "top5",
    "AP_at_IoU0.50": "ap50",
    "AP_at_IoU0.50_pct": "ap50",
}
_FRACTIONS = ("AP_at_IoU0.50",)  # printed from 0 to 1; all others are in percent
_RUNS = {("ghn3_2023", "8"): 3}  # that the text of section 5.3 states, and the table does not
_DATASETS = {"cifar10_1000labels": "cifar10", "cifar100_1000labels": "cifar100"}
_SETTINGS = {"cifar100_1000labels": "10 labels per class"}
_NAMES = {
    "He's": "RandInit",
    "ORTH": "Orth",
    "GHN-3/m8 (OUR IMPLEM. AND HYPERPARAMS AND EQ.(10))": "GHN-2/m8, trained as GHN-3",
    "GHN-3/m8 (d = 32, DECODER OUTPUT: 2d x 2d x 16 x 16)": "GHN-3/m8, d = 32, decoder 2d",
    "GHN-3-T/m8-NO CENTR. EMBED. (EQ. 7)": "GHN-3-T/m8, no centrality embeddings",
    "GHN-3-T/m8-NO INPUT DIST. EMBED. (SECTION A.1)": "GHN-3-T/m8, no input distance embeddings",
    "GHN-3-T/m8, NO FW/BW EMBED. IN EQ. (9)": "GHN-3-T/m8, no edge embeddings",
    "GHN-3-T/m8, NO FW/BW/CENTR/INPUT DIST. EMBED": "GHN-3-T/m8, no embeddings",
    "GHN-2/m8 (d=128) (OUR IMPLEM. AND HYPERPARAMS)": "GHN-2/m8, d = 128, trained as GHN-3",
    "GHN-3-T/m8 (DECODER OUTPUT: 4d x 4d x 16 x 16)": "GHN-3-T/m8, decoder 4d",
}


@dataclass(frozen=True)
class PublishedRow:
    """A row of a paper's table.

    Args:
        protocol, setting: protocol and setting of the measurement.
        model, dataset, metric: model, data set and metric of the measurement.
        values: by group of networks: mean of an accuracy and its standard error (None if not printed), in percent.
        source: paper and table.
    """

    protocol: str
    setting: str
    model: str
    dataset: str
    metric: str
    values: dict[str, tuple[float | None, ...]]
    source: str


@cache
def paper_tables() -> pd.DataFrame:
    """Return all printed numbers: one line each with source, table, model, protocol, metric, value and so on."""
    return pd.read_csv(DATA_DIR / "paper_tables.csv.gz", dtype={"table": str}, keep_default_na=True)


def published_rows(protocol: str) -> list[PublishedRow]:
    """Return the published rows of a leaderboard, from the papers' tables or from their results of single networks."""
    if protocol == "nas":
        source = "ppuda2021, results of single networks"
        return [
            PublishedRow("nas", row.setting, row.score, row.dataset, "tau", row.values, source)
            for row in correlation_rows()
        ]
    rows: dict[tuple[str, ...], PublishedRow] = {}
    for line in paper_tables().itertuples():
        if not _belongs_to(line, protocol):
            continue
        _, setting = _PROTOCOLS[line.protocol]
        row = PublishedRow(
            protocol=protocol,
            setting=_SETTINGS.get(line.dataset, setting),
            model=_model(line),
            dataset=_DATASETS.get(line.dataset, line.dataset),
            metric=_METRICS[line.metric],
            values={},
            source=f"{line.source}, Table {line.table}",
        )
        row = rows.setdefault((row.setting, row.model, row.dataset, row.metric, row.source), row)
        row.values[_GROUPS[line.split_or_arch]] = _value(line)
    return list(rows.values())


def _belongs_to(line: Any, protocol: str) -> bool:
    """Tell whether a printed number is a new result of a whole group of networks for this protocol."""
    group = _GROUPS.get(line.split_or_arch)
    new_group = _TABLES.get((protocol, line.source, line.table))
    if _PROTOCOLS.get(line.protocol, ("", ""))[0] != protocol or group is None or line.metric not in _METRICS:
        return False
    if new_group is None or new_group not in ("", line.split_or_arch):
        return False
    if line.metric.endswith("_mean") == (group in SINGLE_NETWORKS):  # a single network of a split, or the reverse
        return False
    is_repeated = _model(line) in ("GHN-1", "GHN-2", "GHN-2, no GatedGNN (MLP)")  # in Table 8 as in Table 3
    return not (is_repeated and (line.source, line.table) == ("ppuda2021", "8"))


def _value(line: Any) -> tuple[float, float | None]:
    """Return mean and standard error in percent."""
    error = _standard_error(line)
    scale = 100 if line.metric in _FRACTIONS else 1
    return scale * float(line.value), None if error is None else scale * error


def _model(line: Any) -> str:
    """Return the name of a method on leaderboards: as printed, with the model where only a variant is printed."""
    printed = str(line.init_method).replace("\u00d7", "x")
    name = _NAMES.get(printed, printed.replace("RANDINIT", "RandInit"))
    if name == line.model or not isinstance(line.model, str) or name.startswith(("GHN", "RandInit")):
        return name
    # The lower half of Table 8 is about GHN-2 without meta-batches.
    base = line.model + ", no meta-batch" * ("meta_batch8=no" in str(line.note))
    if name.startswith("No Meta-batch"):
        return base
    name = name.removeprefix("+")
    return f"{base}, {name if name[1].isupper() or name[1] == ' ' else name[0].lower() + name[1:]}"


def _standard_error(line: Any) -> float | None:
    """Return the standard error of a mean: over networks, or over runs for a single network."""
    std, kind = line.std, str(line.std_kind)
    if pd.isna(std):
        return None
    if kind == "sem over nets":
        return float(std)
    count = _RUNS.get((line.source, line.table), line.runs) if "runs" in kind else line.n
    return None if pd.isna(count) else float(std) / float(count) ** 0.5
