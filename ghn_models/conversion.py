"""Conversion of published weights to checkpoints."""

import hashlib
from pathlib import Path

from deepnets.networks.skip_init import on_meta_without_init
from deepnets.utils.bounded_files import read_at_most
from deepnets.utils.errors import is_mistake, one_line
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.checkpoints.folder import CheckpointError
from ghn_models.checkpoints.pickle_reader import read_state_dict
from ghn_models.checkpoints.published import from_published
from ghn_models.checkpoints.published_files import HUB, PUBLISHED
from ghn_models.hypernetwork import GHN
from ghn_models.registry import model_config

REVISION = "main"
_WITH_OPTIMIZER = 3  # two moments of each weight beside the weights


def convert(
    name: str, path: Path, folder: Path, trust: bool, sha256: str | None = None, allow_unpinned: bool = False
) -> Path:
    """Write the checkpoint of a published file and return its folder.

    Args:
        name: name of the weights, one of `PUBLISHED`.
        path: the published file.
        folder: folder of the checkpoint to write.
        trust: whether the user trusts the file.
        sha256: hash that the file must have; without it, files that git holds are compared with their known git id.
        allow_unpinned: whether to accept a file without a known hash.

    Raises:
        CheckpointError: no trust, another hash or git id, a file that is not a state dict of tensors, or one of another
            model.
    """
    pinned = check_trust(name, trust, sha256, allow_unpinned)
    path, folder = path.expanduser(), folder.expanduser()
    if not path.is_file():
        raise CheckpointError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    published = PUBLISHED[name]
    config = model_config(published.model, *published.classes_and_size)
    with on_meta_without_init():
        ghn = GHN(config)
    max_bytes = checkpoints.max_weights_bytes(ghn) * (_WITH_OPTIMIZER if published.kind == "torch" else 1)
    data = read_at_most(path, max_bytes)  # once, so that what is read is what was compared
    digest = hashlib.sha256(data).hexdigest()
    if pinned is not None and digest != pinned.lower():
        raise CheckpointError(f"{path} has sha256 {digest}, not {pinned}")
    is_pinned = pinned is None and not allow_unpinned
    if is_pinned and published.git_blob is not None and git_blob_id(data) != published.git_blob:
        raise CheckpointError(
            f"{path} is not {published.file} of {published.source}: git calls it {git_blob_id(data)}, not "
            f"{published.git_blob}"
        )
    try:
        state = read_state_dict(data, published.kind, max_bytes)
        checkpoints.load_state_strict(ghn, from_published(state, config), "the file")
    except Exception as error:  # whatever a damaged or hostile file makes of its readers
        if is_mistake(error, through=()):
            raise
        raise CheckpointError(f"{path} is not {name} ({one_line(error)})") from None
    source = {"source": f"{published.source}, {published.file}", "source_sha256": digest}
    checkpoints.save_folder(ghn, folder, {"name": name, "dataset": published.dataset, **source})
    return folder


def git_blob_id(data: bytes) -> str:
    """Return the id that git gives a file of this content.

    >>> git_blob_id(b"hello\\n")
    'ce013625030ba8dba906f756967f9e9ca394464a'
    """
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def check_trust(name: str, trust: bool, sha256: str | None, allow_unpinned: bool) -> str | None:
    """Check that the user trusts a published file, and return the hash that it must have, if any.

    Raises:
        CheckpointError: the user does not trust the file, or has no hash and did not say to go without.
    """
    published = PUBLISHED[name]
    if not trust:
        raise CheckpointError(
            f"{published.file} is a pickle, whose content could be harmful; say that you trust it with --trust"
        )
    pinned = sha256 or published.sha256
    if pinned is None and published.git_blob is None and not allow_unpinned:
        raise CheckpointError(
            f"no hash of {published.file} is known to compare it with; give the one you know (--sha256) or "
            "--allow-unpinned"
        )
    return pinned


def download(name: str) -> Path:
    """Download a published file from the Hugging Face hub and return its path.

    Raises:
        CheckpointError: the file or the hub cannot be reached, or huggingface_hub is not installed.
    """
    published = PUBLISHED[name]
    local = f"download {published.file} from {published.source} and give it with --file"
    if published.kind != "joblib":
        raise CheckpointError(f"{name} is not on the hub; {local}")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise CheckpointError(f"downloads need `pip install 'deepnets1m[hub]'`; or {local}") from None
    try:
        return Path(hf_hub_download(HUB, published.file, revision=REVISION))
    except Exception as error:  # whatever the network does
        raise CheckpointError(f"{published.file} cannot be downloaded ({type(error).__name__}); {local}") from None
