"""Checkpoints are read back as written, and nothing else is read as one; pickles run nothing."""

import builtins
import io
import json
import operator
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import ghn_models
from benchmarks.core.cli_options import RunOptions
from benchmarks.evaluation import run_config
from ghn_models import GHN, CheckpointError, GHNConfig, convert
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.checkpoints.pickle_reader import read_state_dict
from ghn_models.checkpoints.published import from_published, to_published
from ghn_models.checkpoints.published_files import PUBLISHED
from ghn_models.conversion import git_blob_id
from ghn_models.registry import model_config
from tests.support.small_ghns import KINDS


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
    assert checkpoints.read_metadata(tmp_path / "ghn")["dataset"] == "digits"


def test_configurations_keep_the_names_of_their_files() -> None:
    config = replace(KINDS["ghn2"], propagation_steps=3, bidirectional=False)
    content = config.to_file()
    assert (content["sweeps"], content["backward"]) == (3, False)
    assert GHNConfig.from_file(content) == config
    with pytest.raises(ValueError, match="unknown setting 'bidirectional'"):
        GHNConfig.from_file({"bidirectional": False})


def test_weights_are_found_by_name(home: Path) -> None:
    checkpoints.save_folder(GHN(KINDS["ghn2"]), home / "weights" / "ghn2.cifar10", {})
    assert ghn_models.load("ghn2.cifar10").config == KINDS["ghn2"]
    assert "ghn3_xl.imagenet_m16" in ghn_models.list_models(weights=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ghn3_xl.imagenet_m16", r"is not in .*: convert the published file ghn3xlm16.pt .*ghn_models.convert"),
        ("a" * 5000, "there are no weights 'aaa"),
        ("ghn2_t5", r"there are no weights of ghn2_t5; ghn_models.create\('ghn2_t5'\) makes an untrained one"),
        (
            "ghn2.cifar100",
            r"there are no weights 'ghn2.cifar100'; did you mean ghn2.cifar10.*, the folder of a checkpoint",
        ),
        ("some/folder", "some/folder is not a checkpoint: it has no config.json"),
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
    """Change a file that has no hash of itself, as older versions wrote it."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        content.pop("config_sha256", None)
        content[key] = change(content.get(key))
        (folder / "config.json").write_text(json.dumps(content))

    return damage


def with_right_hash(folder: Path) -> None:
    changed("weights_sha256", lambda _: checkpoints.sha256(folder / "model.safetensors"))(folder)


def truncated_with_right_hash(folder: Path) -> None:
    truncated(folder)
    with_right_hash(folder)


def edited(folder: Path) -> None:
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"pooled_classifier": false', '"pooled_classifier": true'))


def reweighted(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors")
        with_right_hash(folder)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "is damaged: its sha256 is not"),
        (truncated_with_right_hash, "not a complete safetensors file"),
        (flipped, "is damaged: its sha256 is not"),
        (edited, "config.json is damaged: its content does not match its sha256"),
        (changed("weights_sha256", lambda _: None), "config.json has no sha256 of the weights"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "cannot be read"),
        (lambda f: (f / "config.json").write_text("[" * 10**5), "cannot be read"),
        (lambda f: (f / "config.json").write_text("[]"), "has no configuration"),
        (changed("config", lambda c: {**c, "hidden": 18}), "hidden is 18; the four shape encodings need a multiple"),
        (changed("config", lambda c: {**c, "hidden": "16"}), "hidden is '16'; it must be an integer"),
        (changed("config", lambda c: {**c, "hidden": 2**62}), "hidden is .*; it must be an integer from 1 to 65536"),
        (changed("config", lambda c: {**c, "hidden": 32}), "has shape .*, its configuration needs"),
        (changed("config", lambda c: {**c, "depth": 3}), "unknown setting 'depth'; a newer version wrote it"),
        (changed("config", lambda c: {**c, "virtual_edges": False}), "has shape|does not know"),
        (changed("config", lambda c: {**c, "layers": 2}), r"has no graph_network\.1"),
        (reweighted(lambda s: s.pop("norm.bias")), "has no norm.bias, which its configuration needs"),
        (reweighted(lambda s: s.update(extra=torch.ones(1))), "has 'extra', which its configuration does not know"),
        (reweighted(lambda s: s.update({"norm.bias": torch.ones(3)})), r"norm.bias has shape \(3,\), .* needs \(16,\)"),
        (reweighted(lambda s: s.update({"norm.bias": s["norm.bias"].int()})), "not a dense tensor of floating-point"),
        (reweighted(lambda s: s["norm.bias"].fill_(float("nan"))), "norm.bias has numbers that are not finite"),
        (changed("config", lambda c: {k: v for k, v in c.items() if k != "window"}), "it has no setting 'window'"),
        (lambda f: (f / "config.json").write_text(" " * 2**22 + "{}"), "has more than 4,194,304 bytes"),
        (lambda f: os.truncate(f / "model.safetensors", 40 * 2**30), "which its configuration has no use for"),
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
    with pytest.raises(ValueError, match=r"'gnn\.5\.what\.weight' does not belong to a"):
        from_published({"gnn.5.what.weight": torch.ones(1)}, settings)
    with pytest.raises(ValueError, match=r"ln\.weight appears twice"):
        from_published({"ln.weight": torch.ones(1), "module.ln.weight": torch.ones(1)}, settings)
    kernel = from_published({"decoder.class_layer_predictor.1.weight": torch.ones(2, 2, 3, 3)}, settings)
    assert kernel["decoder.classifier.weight"].shape == (2, 2, 3, 3)  # no linear layer


def published_state(name: str) -> "OrderedDict[str, Tensor]":
    with torch.device("meta"):
        ghn = GHN(model_config(*convert_arguments(name)))
    torch.manual_seed(0)
    shapes = to_published(ghn.state_dict(), ghn.config)
    return OrderedDict((key, torch.randn(value.shape)) for key, value in shapes.items())


def convert_arguments(name: str) -> tuple[str, int, int]:
    its = PUBLISHED[name]
    return its.model, *its.classes_and_size


def write_joblib(state: object, path: Path) -> None:
    joblib.dump(state, path)


def write_zlib(state: object, path: Path) -> None:
    joblib.dump(state, path, compress=1)


def write_module(state: "OrderedDict[str, Tensor]", path: Path) -> None:
    """As `module.state_dict()` can be: with versions, parameters, transposed tensors and parts of larger ones."""
    odd = OrderedDict((name, torch.cat([value, value])[len(value) :]) for name, value in state.items())
    odd["ln.weight"] = torch.nn.Parameter(state["ln.weight"])
    odd["embed.weight"] = state["embed.weight"].t().contiguous().t()
    odd._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    joblib.dump(odd, path)


def write_torch(state: object, path: Path) -> None:
    torch.save({"state_dict": state, "config": {"hid": 32, "ve": True}, "epoch": 3, "optimizer": {0: [1.0]}}, path)


def write_legacy(state: object, path: Path) -> None:
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("ghn3_t.imagenet_m8", write_joblib),
        ("ghn3_t.imagenet_m8", write_module),
        ("ghn3_t.imagenet_m8", write_zlib),
        ("ghn2.cifar10", write_torch),
        ("ghn1.cifar10", write_legacy),
        ("mlp.cifar10", write_torch),
    ],
)
def test_published_files_are_converted(
    name: str, write: Callable[[object, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, path = published_state(name), tmp_path / "published.pt"
    write(state, path)
    monkeypatch.setitem(sys.modules, "joblib", None)  # not needed for reading
    assert convert.main([name, "--file", str(path), "--trust", "--sha256", checkpoints.sha256(path)]) == 0
    ghn = ghn_models.load(name)
    back = to_published(ghn.state_dict(), ghn.config)
    assert all(torch.equal(back[key], value) for key, value in state.items())
    source = checkpoints.read_metadata(checkpoints.cache_dir() / name)
    assert source["source_sha256"] == checkpoints.sha256(path)
    plan = run_config(RunOptions(name), None)  # evaluated on what it was trained on
    assert (plan.dataset, plan.image_size) == {"cifar10": ("cifar10", 32)}.get(name.split(".")[1], ("imagenet", 224))


@pytest.mark.parametrize("compress", ["zlib", "gzip", "bz2", "lzma", "xz"])
def test_compression(compress: str, tmp_path: Path) -> None:
    state = {"a": torch.randn(3, 4).t(), "b": torch.ones(2, dtype=torch.float16)}
    joblib.dump(state, tmp_path / "state", compress=(compress, 3))
    loaded = read_state_dict((tmp_path / "state").read_bytes(), "joblib", 2**20)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], value) and loaded[name].dtype == value.dtype for name, value in state.items())


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
    assert convert.main([name, "--hub", "--trust", "--out", str(tmp_path / "new")]) == 2  # which fetches nothing
    assert "no hash of ghn3tm8.pt is known" in capsys.readouterr().err


def test_consent_and_hashes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ghn2_cifar10.pt"
    write_torch(published_state("ghn2.cifar10"), path)
    start = ["ghn2.cifar10", "--file", str(path)]
    for options, message in (
        ([], "say that you trust it with --trust"),
        (
            ["--trust"],
            "is not ghn2_cifar10.pt of github.com/facebookresearch/ppuda (folder checkpoints), commit 4673a42",
        ),
        (["--trust", "--sha256", "00"], ", not 00"),
    ):
        assert convert.main([*start, *options]) == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.count("\n") == 1
    assert convert.main(["ghn2.cifar10", "--file", str(tmp_path), "--trust", "--allow-unpinned"]) == 2
    assert f"{tmp_path} is not a file" in capsys.readouterr().err
    assert convert.main([*start, "--trust", "--allow-unpinned"]) == 0
    assert convert.main([*start, "--trust", "--allow-unpinned"]) == 2
    assert "choose another folder with --out" in capsys.readouterr().err
    wrong = ["ghn1.cifar10", "--file", str(path), "--trust", "--allow-unpinned"]
    assert convert.main(wrong) == 2
    assert "is not ghn1.cifar10" in capsys.readouterr().err
    assert convert.main([*start, "--trust", "--allow-unpinned", "--out", str(path / "below")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    for unusable in (["ghn9", "--file", str(path)], ["ghn2.cifar10"], [*start, "--hub"]):
        assert convert.main(unusable) == 2


def test_files_that_git_holds_are_pinned_by_their_git_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compared without a hash of the user; the id is what `git hash-object` prints."""
    path = tmp_path / "ghn2_cifar10.pt"
    write_torch(published_state("ghn2.cifar10"), path)
    command = ["git", "hash-object", "--no-filters", str(path)]
    blob = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert git_blob_id(path.read_bytes()) == blob
    arguments = ["ghn2.cifar10", "--file", str(path), "--trust"]
    assert convert.main(arguments) == 2
    assert f"git calls it {blob}, not 4f290e0fad1b73066eeabb50be52e0c377d0b15b" in capsys.readouterr().err
    monkeypatch.setitem(PUBLISHED, "ghn2.cifar10", replace(PUBLISHED["ghn2.cifar10"], git_blob=blob))
    assert convert.main(arguments) == 0
    pinned = {name for name, published in PUBLISHED.items() if published.git_blob}
    assert pinned == {"ghn1.cifar10", "ghn1.imagenet", "ghn2.cifar10", "ghn2.imagenet", "mlp.cifar10"}


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def legacy(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def deflated(content: object) -> bytes:
    """A file of torch whose zip entries are compressed, which torch itself never does but reads."""
    file, result = io.BytesIO(), io.BytesIO()
    torch.save(content, file)
    with zipfile.ZipFile(file) as plain, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as small:
        for entry in plain.infolist():
            small.writestr(entry.filename, plain.read(entry))
    return result.getvalue()


def refused(data: bytes, kind: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says of a file that it does not convert."""
    name = "ghn3_t.imagenet_m8" if kind == "joblib" else "ghn2.cifar10"
    path = folder / "evil.pt"
    path.write_bytes(data)
    assert convert.main([name, "--file", str(path), "--trust", "--allow-unpinned"]) == 2
    assert path.read_bytes() == data
    assert not (checkpoints.cache_dir() / name).exists()
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {path} is not {name} (")
    assert printed.count("\n") == 1
    assert "\x1b" not in printed
    return printed


@pytest.mark.parametrize("kind", ["joblib", "torch"])
def test_malicious_pickles_run_nothing(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    victim = tmp_path / "victim"
    touch = f"open({str(victim)!r}, 'w')"
    load_from_bytes = torch.storage._load_from_bytes
    calls = [
        Calls(os.system, f"touch {victim}"),
        Calls(builtins.exec, touch),
        Calls(builtins.eval, touch),
        Calls(Path.touch, victim),
        Calls(partial(builtins.eval, touch)),
        Calls(operator.attrgetter, "system"),
        Calls(load_from_bytes, legacy(Calls(builtins.eval, touch))),
        Calls(load_from_bytes, pickle.dumps(Calls(builtins.eval, touch))),
        {"state_dict": {"a": Calls(builtins.eval, touch)}},
    ]
    for call in calls:
        data = pickle.dumps(call) if kind == "joblib" else legacy(call)
        assert "was not run" in refused(data, kind, tmp_path, capsys)
        assert not victim.exists()


def two_tables_of_contents(content: object) -> bytes:
    """A file of torch with a second, harmless table of contents, which Python reads instead of the first."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as harmless:
        harmless.writestr("archive/a", b"")
    table = harmless.start_dir
    end = file.getvalue()[table:]
    bomb = deflated(content)
    with zipfile.ZipFile(io.BytesIO(bomb)) as whole:
        start, count = whole.start_dir, len(whole.infolist())
    entries = bomb[start : bomb.rindex(b"PK\5\6")]
    entry = bytearray(end[: end.index(b"PK\5\6")])
    entry[30:32] = (len(entries) - len(entry)).to_bytes(2, "little")  # as long as the first, by an extra field
    entry += bytes(len(entries) - len(entry))
    tail = struct.pack("<HHHHIIH", 0, 0, count, count, len(entries), start, 0)
    return bomb[:start] + entries + bytes(entry) + b"PK\5\6" + tail


def test_torch_reads_what_was_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """torch takes the table of contents that the end names, Python the one right before the end."""
    data = two_tables_of_contents({"a": torch.zeros(2**22)})
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert sum(entry.file_size for entry in file.infolist()) < len(data) < 2**20
    assert torch.load(io.BytesIO(data), weights_only=True)["a"].numel() == 2**22  # 16 MiB
    refused(data, "torch", tmp_path, capsys)
    with pytest.raises(zipfile.BadZipFile, match="Bad magic number"):
        read_state_dict(data, "torch", 2**30)


def test_files_larger_than_the_model_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sparse.pt"
    with path.open("wb") as file:
        file.truncate(40 * 2**30)
    assert convert.main(["ghn2.cifar10", "--file", str(path), "--trust", "--allow-unpinned"]) == 2
    assert "sparse.pt has more than" in capsys.readouterr().err


def test_weights_that_are_not_finite_are_not_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = published_state("ghn2.cifar10")
    state["ln.weight"][0] = float("nan")
    path = tmp_path / "nan.pt"
    write_torch(state, path)
    assert convert.main(["ghn2.cifar10", "--file", str(path), "--trust", "--allow-unpinned"]) == 2
    assert "has numbers that are not finite" in capsys.readouterr().err


TENSOR, STORAGE = torch._utils._rebuild_tensor_v2, torch.zeros(4)._typed_storage()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        # Names with dots are no way into a module.
        (b"\x80\x04\x8c\x0ctorch._utils\x8c\x1e_rebuild_tensor_v2.__globals__\x93.", "__globals__'"),
        (b"\x80\x04\x8c\x05torch\x8c\x19_utils._rebuild_tensor_v2\x93.", "asks for 'torch._utils._rebuild_tensor_v2'"),
        (b"\x80\x04\x8c\x05\x1b[31m\x8c\x01\n\x93.", r"asks for '\x1b[31m.\n'"),
        # Changing a function, or asking a nested file for one.
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x08\x00\x00\x00__code__Ns\x86b.", "no state dict"),
        (pickle.dumps(Calls(torch.storage._load_from_bytes, legacy(torch.nn.Parameter))), "in the place of a storage"),
        # Other ways to make objects.
        (b"(S'ls'\nios\nsystem\n.", "instruction"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "instruction"),
        # Tensors beyond their storage, which torch would allocate or read from what was in memory before.
        (pickle.dumps({"a": Calls(TENSOR, STORAGE, 0, (10**9,), (1,), False, None)}), "out of bounds"),
        (pickle.dumps({"a": Calls(TENSOR, STORAGE, 5, (1,), (1,), False, None)}), "out of bounds"),
        (pickle.dumps({"a": Calls(TENSOR, STORAGE, 3, (3,), (-1,), False, None)}), "Negative strides"),
        (pickle.dumps({"embed.weight": Calls(TENSOR, STORAGE, 0, (10**15,), (0,), False, None)}), "has shape"),
        # Small files that fill the memory, or the stack of the interpreter.
        (b"\x80\x02}r\xff\xff\xff\xff.", "has no encoding"),
        (b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x.", "EOFError"),
        (b"\x80\x02})" + b"\x85" * 10**5 + b"K\x01s.", "instruction"),
        (b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".", "no state dict"),
        (zlib.compress(bytes(2**26)), "larger than the model"),
        (zlib.compress(pickle.dumps({}))[:-1], "cut off"),
        (pickle.dumps(Calls(torch.storage._load_from_bytes, deflated(torch.zeros(2**20)))), "larger than the file"),
        (pickle.dumps({"\x1b[31m\n": torch.zeros(1)}), r"'\x1b[31m\n' does not belong to a"),
    ],
)
def test_odd_pickles(data: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(data, "joblib", tmp_path, capsys)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (deflated(torch.zeros(2**20)), "larger than the file"),
        (legacy({1: torch.zeros(1)}), "only tensors and their names"),
        (legacy({"embed.weight": torch.zeros(15, 32).to_sparse()}), "not a dense tensor"),
        (legacy({"embed.weight": torch.zeros(15, 32, device="meta")}), "not a dense tensor"),
        (legacy({"embed.weight": torch.zeros(15, 32).int()}), "not a dense tensor"),
        (legacy({"embed.weight": torch.zeros(1).expand(10**15)}), "has shape"),
    ],
)
def test_odd_torch_files(data: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(data, "torch", tmp_path, capsys)


@pytest.mark.parametrize("kind", ["joblib", "torch"])
def test_damaged_files(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Any changed byte, and any end, is one sentence."""
    state = {"ln.weight": torch.ones(2), "embed.weight": torch.nn.Parameter(torch.ones(2, 2))}
    data, rng = (pickle.dumps if kind == "joblib" else legacy)(state), np.random.default_rng(0)
    for position in rng.integers(len(data), size=60):
        refused(data[:position] + rng.bytes(1) + data[position + 1 :], kind, tmp_path, capsys)
        refused(data[:position], kind, tmp_path, capsys)
    for other in (b"", b"x\x9c broken", b"PK\x03\x04", b"\x80\x04]\x94.", b"hello"):
        refused(other, kind, tmp_path, capsys)


def test_settings_of_other_variants_do_not_fit(tmp_path: Path) -> None:
    checkpoints.save_folder(GHN(KINDS["ghn3"]), tmp_path / "ghn", {})
    changed("config", lambda c: {**c, "heads": 8})(tmp_path / "ghn")
    with pytest.raises(CheckpointError, match="has shape"):
        ghn_models.load(tmp_path / "ghn")
    assert replace(KINDS["ghn3"], heads=4) == KINDS["ghn3"]
