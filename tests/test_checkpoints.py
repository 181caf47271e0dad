"""Checkpoints are read back as written, and nothing else is read as one; pickles run nothing."""

import builtins
import io
import json
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import ghn_models
from ghn_models import GHN, CheckpointError, checkpoints, convert
from ghn_models.published import from_published, to_published
from ghn_models.registry import config
from tests.test_ghn_models import KINDS


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEPNETS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    checkpoints.save_folder(GHN(KINDS["ghn2"]), tmp_path / "ghn", {"dataset": "none"})
    return tmp_path / "ghn"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("half", [False, True])
def test_round_trip(kind: str, half: bool, tmp_path: Path) -> None:
    ghn = GHN(KINDS[kind])
    checkpoints.save_folder(ghn, tmp_path / "ghn", {"dataset": "digits"}, half=half)
    loaded = ghn_models.load(tmp_path / "ghn")
    assert loaded.config == ghn.config
    assert not loaded.training
    for (name, a), b in zip(ghn.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(a.half().float() if half else a, b), name
    assert checkpoints.about(tmp_path / "ghn")["dataset"] == "digits"


def test_weights_are_found_by_name(home: Path) -> None:
    checkpoints.save_folder(GHN(KINDS["ghn2"]), home / "weights" / "ghn2.cifar10", {})
    assert ghn_models.load("ghn2.cifar10").config == KINDS["ghn2"]
    assert "ghn3_xl.imagenet_m16" in ghn_models.list_models(weights=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ghn3_xl.imagenet_m16", r"is not in .*: convert the published file ghn3xlm16.pt .*ghn_models.convert"),
        ("ghn2_t5", r"there are no weights of ghn2_t5; ghn_models.create\('ghn2_t5'\) makes an untrained one"),
        ("ghn2.cifar100", r"there are no weights 'ghn2.cifar100'; accepted: a folder, ghn2.cifar10"),
        ("some/folder", "some/folder is no checkpoint: it has no config.json"),
    ],
)
def test_what_is_not_there(name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        ghn_models.load(name)


def test_nothing_is_overwritten(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="has a checkpoint; choose another folder"):
        checkpoints.save_folder(GHN(KINDS["ghn2"]), saved, {})


def test_an_interrupted_save_is_no_checkpoint(saved: Path) -> None:
    (saved / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"it has no config\.json"):
        ghn_models.load(saved)


def truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def flipped(folder: Path) -> None:
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)


def changed(key: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        content[key] = change(content.get(key))
        (folder / "config.json").write_text(json.dumps(content))

    return damage


def reweighted(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors")
        changed("weights_sha256", lambda _: None)(folder)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "is damaged: its sha256 is not"),
        (lambda f: (truncated(f), changed("weights_sha256", lambda _: None)(f)), "no complete safetensors file"),
        (flipped, "is damaged: its sha256 is not"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "cannot be read"),
        (lambda f: (f / "config.json").write_text("[]"), "has no configuration"),
        (changed("config", lambda c: {**c, "hidden": 18}), "hidden is 18; the four shape encodings need a multiple"),
        (changed("config", lambda c: {**c, "hidden": "16"}), "hidden is '16'; it must be an integer"),
        (changed("config", lambda c: {**c, "hidden": 32}), "has shape .*, its configuration needs"),
        (changed("config", lambda c: {**c, "depth": 3}), "unknown setting 'depth'; a newer version wrote it"),
        (changed("config", lambda c: {**c, "virtual_edges": False}), "has shape|does not know"),
        (changed("config", lambda c: {**c, "layers": 2}), r"has no graph_network\.1"),
        (reweighted(lambda s: s.pop("norm.bias")), "has no norm.bias, which its configuration needs"),
        (reweighted(lambda s: s.update(extra=torch.ones(1))), "has extra, which its configuration does not know"),
        (reweighted(lambda s: s.update({"norm.bias": torch.ones(3)})), r"norm.bias has shape \(3,\), .* needs \(16,\)"),
    ],
)
def test_damaged_checkpoints(damage: Callable[[Path], object], message: str, saved: Path) -> None:
    damage(saved)
    with pytest.raises(CheckpointError, match=message) as raised:
        ghn_models.load(saved)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
def test_published_names_and_back(kind: str) -> None:
    ghn = GHN(KINDS[kind])
    state, settings = ghn.state_dict(), ghn.config
    published = to_published(state, settings)
    variants = [published, {f"module.{name}": value for name, value in published.items()}]
    if kind == "ghn3":  # some files keep these outside of the first layer
        moved = ("gnn.0.centrality_embed_in", "gnn.0.centrality_embed_out", "gnn.0.input_dist_embed")
        variants.append({k.removeprefix("gnn.0.") if k.startswith(moved) else k: v for k, v in published.items()})
    for variant in variants:
        back = from_published(variant, settings)
        assert back.keys() == state.keys()
        assert all(torch.equal(back[name], state[name]) for name in state)
    with pytest.raises(ValueError, match=r"gnn\.5\.what\.weight is none of a"):
        from_published({"gnn.5.what.weight": torch.ones(1)}, settings)


def published_state(name: str) -> "OrderedDict[str, Tensor]":
    with torch.device("meta"):
        ghn = GHN(config(*convert_arguments(name)))
    torch.manual_seed(0)
    shapes = to_published(ghn.state_dict(), ghn.config)
    return OrderedDict((key, torch.randn(value.shape)) for key, value in shapes.items())


def convert_arguments(name: str) -> tuple[str, int, int]:
    its = convert.PUBLISHED[name]
    return its.model, its.num_classes, its.image_size


def write_joblib(state: object, path: Path) -> None:
    joblib.dump(state, path)


def write_zlib(state: object, path: Path) -> None:
    joblib.dump(state, path, compress=3)


def write_torch(state: object, path: Path) -> None:
    torch.save({"state_dict": state, "config": {"hid": 32, "ve": True}, "epoch": 3, "optimizer": {}}, path)


def write_legacy(state: object, path: Path) -> None:
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("ghn3_t.imagenet_m8", write_joblib),
        ("ghn3_t.imagenet_m8", write_zlib),
        ("ghn2.cifar10", write_torch),
        ("ghn1.cifar10", write_legacy),
        ("mlp.cifar10", write_torch),
    ],
)
def test_published_files_are_converted(name: str, write: Callable[[object, Path], None], tmp_path: Path) -> None:
    state, path = published_state(name), tmp_path / "published.pt"
    write(state, path)
    assert convert.main([name, "--file", str(path), "--trust", "--sha256", checkpoints.sha256(path)]) == 0
    ghn = ghn_models.load(name)
    back = to_published(ghn.state_dict(), ghn.config)
    assert all(torch.equal(back[key], value) for key, value in state.items())
    source = checkpoints.about(checkpoints.cache() / name)
    assert source["source_sha256"] == checkpoints.sha256(path)


def test_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    name, path = "ghn3_t.imagenet_m8", tmp_path / "ghn3tm8.pt"
    write_joblib(published_state(name), path)
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def fetch(repository: str, file: str, revision: str) -> str:
        asked.append((repository, file))
        return str(path)

    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    assert convert.main([name, "--hub", "--trust", "--allow-unpinned"]) == 0
    assert asked == [("SamsungSAILMontreal/ghn3", "ghn3tm8.pt")]

    def fail(*args: object, **kwargs: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(hub, "hf_hub_download", fail)
    assert convert.main([name, "--hub", "--trust", "--allow-unpinned", "--out", str(tmp_path / "new")]) == 2
    assert "ghn3tm8.pt cannot be downloaded (OSError); download ghn3tm8.pt from" in capsys.readouterr().err


def test_consent_and_hashes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ghn2_cifar10.pt"
    write_torch(published_state("ghn2.cifar10"), path)
    start = ["ghn2.cifar10", "--file", str(path)]
    for options, message in (
        ([], "say that you trust it with --trust"),
        (["--trust"], "give the one you know (--sha256) or --allow-unpinned"),
        (["--trust", "--sha256", "00"], ", not 00"),
    ):
        assert convert.main([*start, *options]) == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.count("\n") == 1
    assert convert.main([*start, "--trust", "--allow-unpinned"]) == 0
    assert convert.main([*start, "--trust", "--allow-unpinned"]) == 2
    assert "choose another folder with --out" in capsys.readouterr().err
    wrong = ["ghn1.cifar10", "--file", str(path), "--trust", "--allow-unpinned"]
    assert convert.main(wrong) == 2
    assert "is not ghn1.cifar10" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        convert.main(["ghn9", "--file", str(path)])


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def tampering() -> bytes:
    """Sets an attribute of an allowed function: GLOBAL, {...}, BUILD."""
    return b"ctorch._utils\n_rebuild_tensor_v2\n}(X\x08\x00\x00\x00__code__I1\nub."


def dotted() -> bytes:
    return b"\x80\x04\x8c\x0ctorch._utils\x8c\x1e_rebuild_tensor_v2.__globals__\x93."


@pytest.mark.parametrize("kind", ["joblib", "torch"])
def test_malicious_pickles_run_nothing(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import os

    victim = tmp_path / "victim"
    touch = f"open({str(victim)!r}, 'w')"
    nested = io.BytesIO()
    torch.save(Calls(builtins.eval, touch), nested, _use_new_zipfile_serialization=False)
    payloads: list[object] = [
        Calls(os.system, f"touch {victim}"),
        Calls(builtins.exec, touch),
        Calls(builtins.eval, touch),
        Calls(Path.touch, victim),
        Calls(torch.storage._load_from_bytes, nested.getvalue()),
        {"state_dict": {"a": Calls(builtins.eval, touch)}},
    ]
    name = "ghn3_t.imagenet_m8" if kind == "joblib" else "ghn2.cifar10"
    path = tmp_path / "evil.pt"
    for payload in [*payloads, tampering(), dotted()]:
        if isinstance(payload, bytes):
            path.write_bytes(payload)
        elif kind == "joblib":
            path.write_bytes(pickle.dumps(payload))
        else:
            torch.save(payload, path)
        assert convert.main([name, "--file", str(path), "--trust", "--allow-unpinned"]) == 2
        printed = capsys.readouterr().err
        assert printed.startswith("error: ")
        assert printed.count("\n") == 1
        assert not victim.exists()
    assert not (checkpoints.cache() / name).exists()


@pytest.mark.parametrize("data", [b"", b"\x80\x04", b"x\x9c broken", b"PK\x03\x04", b"\x80\x04]\x94.", b"hello"])
@pytest.mark.parametrize("name", ["ghn3_t.imagenet_m8", "ghn2.cifar10"])
def test_files_that_are_none(data: bytes, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(data)
    assert convert.main([name, "--file", str(path), "--trust", "--allow-unpinned"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1


def test_settings_of_other_variants_do_not_fit(tmp_path: Path) -> None:
    checkpoints.save_folder(GHN(KINDS["ghn3"]), tmp_path / "ghn", {})
    changed("config", lambda c: {**c, "heads": 8})(tmp_path / "ghn")
    with pytest.raises(CheckpointError, match="has shape"):
        ghn_models.load(tmp_path / "ghn")
    assert replace(KINDS["ghn3"], heads=4) == KINDS["ghn3"]
