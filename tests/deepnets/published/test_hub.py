"""Published files of the Hugging Face hub, which is replaced by copies here."""

import hashlib
import io
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepnets.datasets.generation import generate
from deepnets.published import hub
from deepnets.published.hub import download_from_hub, md5_warning
from deepnets.published.importer import import_file
from deepnets.storage.column_reader import ColumnFile
from deepnets.utils.errors import FileError
from tests.support.command import assert_refused, run


def publish_on_a_hub(monkeypatch: pytest.MonkeyPatch, samples: Path, member: str, kind: str = "eval") -> None:
    """Replace the download by a copy, and the pinned hashes by those of the copies."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        content = (samples / f"deepnets1m_{kind}_meta.json").read_bytes()
        info = tarfile.TarInfo(f"folder/{member}")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    files = {
        f"deepnets1m_{kind}.hdf5": (samples / f"deepnets1m_{kind}.hdf5").read_bytes(),
        "deepnets1m_meta.tar.gz": archive.getvalue(),
    }

    def download(repo: str, name: str, repo_type: str, local_dir: Path) -> str:
        assert (repo, repo_type) == ("SamsungSAILMontreal/deepnets1m", "dataset")
        path = Path(local_dir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])
        return str(path)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))
    digests = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(hub, "MD5", digests)


def test_hub(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "hub"
    publish_on_a_hub(monkeypatch, samples, "deepnets1m_eval_meta.json")
    assert len(import_file(download_from_hub("eval", folder), folder)) == 6
    monkeypatch.setitem(hub.MD5, "deepnets1m_eval.hdf5", "0" * 32)
    with pytest.raises(FileError, match="is not the published file"):
        download_from_hub("eval", folder)
    publish_on_a_hub(monkeypatch, samples, "something_else.json")
    with pytest.raises(FileError, match=r"lacks deepnets1m_eval_meta\.json"):
        download_from_hub("eval", tmp_path / "lacking")
    with pytest.raises(ValueError, match=r"there is no published file .val.; did you mean eval.* accepted: train"):
        download_from_hub("val", folder)


def test_hub_keeps_files_of_the_same_name(
    samples: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_on_a_hub(monkeypatch, samples, "deepnets1m_train_meta.json", kind="train")
    root = samples / "data"
    ours, published = root / "deepnets1m_train.hdf5", root / "published" / "deepnets1m_train.hdf5"
    generated = generate(ours, "train", num=3, workers=1).read_bytes()
    command = ("import", "--hub", "train", "--root", root)
    code, _, err = run(capsys, *command)
    assert (code, ours.read_bytes()) == (2, generated)
    assert "exists already" in err
    assert run(capsys, *command, "--overwrite")[0] == 0
    assert ColumnFile(ours).header.num_networks == 6
    assert published.read_bytes() == (samples / "deepnets1m_train.hdf5").read_bytes()
    published.write_bytes(generated)
    assert_refused(run(capsys, *command, "--overwrite"), "is not the published file of this name")
    assert published.read_bytes() == generated


def test_hub_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=fail))
    with pytest.raises(FileError, match=r"cannot fetch deepnets1m_eval.hdf5.*deepnets import PATH"):
        download_from_hub("eval", tmp_path)


def test_files_that_are_not_the_published_ones(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    warning = md5_warning(samples / "deepnets1m_eval.hdf5")
    assert warning is not None
    assert "is not the published file of this name" in warning
    other = samples / "mine.hdf5"
    other.write_bytes(b"x")
    assert md5_warning(other) is None
    code, out, err = run(capsys, "import", samples / "deepnets1m_train.hdf5", "--root", samples / "data")
    assert code == 0
    assert "6 misaligned" in out
    assert "is not the published file" in err
