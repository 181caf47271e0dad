"""Download of the published files of DeepNets-1M from the Hugging Face hub, and their hashes."""

import hashlib
import tarfile
from pathlib import Path

from deepnets.utils.atomic_files import atomic_write
from deepnets.utils.errors import FileError, InputError, unknown_choice

MD5 = {
    "deepnets1m_eval.hdf5": "1f5641329271583ad068f43e1521517e",
    "deepnets1m_meta.tar.gz": "a42b6f513da6bbe493fc16a30d6d4e3e",
    "deepnets1m_search.hdf5": "0a93f4b4e3b729ea71eb383f78ea9b53",
    "deepnets1m_train.hdf5": "90bbe84bb1da0d76cdc06d5ff84fa23d",
}
"""MD5 of the published files by name."""

HUB_DATASET = "SamsungSAILMontreal/deepnets1m"

_PARTS = ("train", "eval", "search")


def md5_warning(path: Path) -> str | None:
    """Return a warning if a file has the name of a published one, but another content."""
    expected = MD5.get(path.name)
    if expected is None:
        return None
    with open(path, "rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if md5 == expected:
        return None
    return f"{path} is not the published file of this name (MD5 {md5} instead of {expected})"


def download_from_hub(part: str, folder: Path) -> Path:
    """Download a published file and its metadata, unless they are there already.

    Args:
        part: train, eval or search.
        folder: folder to write the files to.

    Returns:
        The HDF5 file.

    Raises:
        InputError: an unknown part, or the extra `hub` is not installed.
        FileError: the hub cannot be reached, or a file is not the published one.
    """
    if part not in _PARTS:
        raise InputError(unknown_choice("published file", part, _PARTS))
    file, archive = folder / f"deepnets1m_{part}.hdf5", folder / "deepnets1m_meta.tar.gz"
    for path in (file, archive):
        _download(path)
    _extract_metadata(archive, folder / f"deepnets1m_{part}_meta.json")
    return file


def _download(path: Path) -> None:
    """Download one file, unless it exists; the hub's client would replace one that differs."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise InputError("--hub needs the extra 'hub': pip install 'deepnets1m[hub]'") from None
    try:
        if not path.exists():
            hf_hub_download(HUB_DATASET, path.name, repo_type="dataset", local_dir=path.parent)
    except Exception as error:  # the hub's client raises many types without a network
        raise FileError(
            f"cannot fetch {path.name} of {HUB_DATASET} ({type(error).__name__}); "
            f"get it in another way and name its path: deepnets import PATH"
        ) from None
    if warning := md5_warning(path):
        raise FileError(f"{warning}; move it away to fetch the published one")


def _extract_metadata(archive: Path, path: Path) -> None:
    """Extract the file of this name from the archive of all metadata."""
    with tarfile.open(archive) as tar:
        member = next((m for m in tar.getmembers() if Path(m.name).name == path.name and m.isfile()), None)
        content = None if member is None else tar.extractfile(member)
        if content is None:
            raise FileError(f"{archive} lacks {path.name}")
        atomic_write(path, content.read())
