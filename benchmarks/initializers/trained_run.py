"""Initializer from the networks that a run has saved: `--start-from RUN` trains them on, or transfers them."""

import hashlib
from pathlib import Path

from torch import nn

from benchmarks.core.model_names import TRAINED_RECORD_PREFIX
from benchmarks.initializers.base import InitContext, Initializer, recordable
from benchmarks.initializers.pretrained import fill, read_state
from benchmarks.training.job_folder import NETWORKS, file_stem
from deepnets.utils.bounded_files import read_json_at_most
from deepnets.utils.errors import InputError
from ghn_models.checkpoints import folder as checkpoints

_IDENTITY = "identity.json"  # of the folder of a run


def trained_initializer(run: Path) -> Initializer:
    """Return the initializer that copies the networks of a run, each to the network of its name.

    A repetition starts from the same repetition there, or from the first if there was only one. Running statistics of
    batch norm are copied too; classifiers for other classes keep their initialization.

    Args:
        run: folder of a run with --save.

    Raises:
        InputError: it has no saved networks, or one is damaged.
    """
    files = {path.stem: path for path in sorted((run / NETWORKS).glob("*.safetensors"))}
    if not files:
        raise InputError(f"{run} has no saved networks; give the folder of a run with --save")
    digests = [checkpoints.sha256(path) for path in files.values()]
    sha256 = hashlib.sha256("".join(digests).encode()).hexdigest()

    def apply(model: nn.Module, context: InitContext) -> None:
        stems = [file_stem(context.name, repeat) for repeat in (context.repeat, 0)]
        file = next((files[stem] for stem in stems if stem in files), None)
        if file is None:
            raise InputError(f"{run} has no network {stems[0]}")
        fill(model, read_state(file), context.needs_classifier, f"{file.name} does not fit {context.name}")

    name = f"{TRAINED_RECORD_PREFIX}{_model_of(run)}-{sha256[:6]}"
    return Initializer(name, apply, sha256, running_statistics=True)


def _model_of(run: Path) -> str:
    """Return the model that a run began with, and the images that it was trained on.

    Raises:
        InputError: the folder does not say it.
    """
    try:
        identity = read_json_at_most(run / _IDENTITY, 2**20)
        return recordable(f"{identity['model']['name']}-{identity['dataset']['name']}")[:60]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{run / _IDENTITY} does not say what the run is") from None
