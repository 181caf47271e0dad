"""Splits of existing networks as data sets, and the command that traces any network."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch_geometric.loader import DataLoader

from deepnets import DeepNets1M, VirtualEdges, symbolic_graph, trace
from deepnets.datasets import traced_splits as module
from deepnets.datasets.traced_splits import TORCHVISION74, predefined_resnet50, torchvision_model
from deepnets.design_space.named_architectures import vit
from deepnets.storage.graph_file import GraphFile, write_graphs
from tests.support.command import assert_refused, run


@pytest.mark.parametrize(("image_size", "params"), [(32, 23_520_842), (224, 25_557_032)])
def test_predefined(tmp_path: Path, image_size: int, params: int) -> None:
    dataset = DeepNets1M(tmp_path, "predefined", image_size=image_size)
    assert [dataset.model_name(i) for i in range(2)] == ["resnet50", "vit"]
    # The published parameter counts (results_cifar10.json, results_imagenet.json).
    assert sum(p.numel() for p in predefined_resnet50(image_size).parameters()) == params
    expected = symbolic_graph(vit(), image_size, 10 if image_size == 32 else 1000)
    assert sorted(dataset.graph(1).name.tolist()) == sorted(expected.name.tolist())
    assert dataset[1].num_nodes == len(expected)
    with pytest.raises(ValueError, match="are not architectures of the design space"):
        dataset.architecture(0)


def test_torchvision74(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ("alexnet", "resnet18", "squeezenet1_1")
    assert len(set(TORCHVISION74)) == 74
    assert set(few) < set(TORCHVISION74)
    monkeypatch.setattr(module, "TORCHVISION74", few)
    dataset = DeepNets1M(tmp_path, "torchvision74", transform=VirtualEdges())
    assert [dataset.model_name(i) for i in range(3)] == list(few)
    for i, name in enumerate(few):
        graph = trace(torchvision_model(name))
        assert dataset.graph(i).name.tolist() == graph.name.tolist()
        assert dataset.graph(i).edge_index.tolist() == graph.edge_index.tolist()
        assert dataset[i].shape.tolist() == graph.shape.tolist()
    batch = next(iter(DataLoader(dataset, batch_size=3, num_workers=1)))
    assert batch.num_graphs == 3
    again = DeepNets1M(tmp_path, "torchvision74")
    assert [g.num_nodes for g in again] == dataset.graph_sizes.tolist()
    assert torch.equal(again.__getitems__([2, 0])[0].x, dataset[2].x)
    with pytest.raises(ValueError, match=r"have image_size=224, num_classes=1000; asked for image_size=32"):
        DeepNets1M(tmp_path, "torchvision74", image_size=32)


def test_names_with_braces_survive(tmp_path: Path) -> None:
    model = torch.nn.ModuleDict({"{x}": torch.nn.Linear(2, 2)})
    model.forward = lambda x: model["{x}"](x)
    graph = trace(model, inputs=torch.zeros(1, 2))
    write_graphs(tmp_path / "x.hdf5", "traced", {"odd": graph})
    assert GraphFile(tmp_path / "x.hdf5").graph(0).name.tolist() == ["input", "{x}.weight", "{x}.bias"]


def test_trace_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = {name: tmp_path / f"out.{name}" for name in ("png", "json", "hdf5")}
    options = ("--plot", outputs["png"], "--json", outputs["json"], "--hdf5", outputs["hdf5"])
    code, out, _ = run(capsys, "trace", "resnet18", *options)
    assert code == 0
    assert "resnet18: 53 nodes, 60 edges" in out
    written = json.loads(outputs["json"].read_text())
    assert len(written["nodes"]) == 53
    assert written["report"]["unnamed"] == {}
    assert outputs["png"].read_bytes().startswith(b"\x89PNG")
    assert run(capsys, "verify", outputs["hdf5"])[0] == 0
    assert run(capsys, "plot", outputs["hdf5"], "--index", 0, "--out", tmp_path / "again.png")[0] == 0
    assert_refused(run(capsys, "trace", "resnet18", "--json", outputs["json"]), "exists already")
    new = tmp_path / "new.json"
    assert_refused(run(capsys, "trace", "resnet18", "--json", new, "--plot", tmp_path / "new.jpg"), "suffix '.jpg'")
    assert_refused(run(capsys, "trace", "resnet18", "--json", new, "--hdf5", new), "name the same file")
    assert_refused(run(capsys, "trace", "resnet18", "--json", tmp_path, "--overwrite"), "is a folder; name a file")
    assert_refused(run(capsys, "trace", "resnet18", "--json", tmp_path / "no" / "x.json"), "there is no folder")
    assert_refused(run(capsys, "trace", "nets.py"), "nets.py is a file; say which of its models or functions to trace")
    assert not new.exists()
    assert_refused(run(capsys, "stats", outputs["hdf5"], "--out", tmp_path / "s"), "its file holds the graph only")
    assert run(capsys, "generate", "--split", "predefined", "--root", tmp_path)[0] == 0
    for option, value in (("--num", 2), ("--seed", 7), ("--workers", 2), ("--scheduler", "nowhere")):
        command = ("generate", "--split", "predefined", option, value, "--root", tmp_path)
        message = f"{option[2:]} is {value}, but the split predefined is traced in one go and takes no {option[2:]}"
        assert_refused(run(capsys, *command), message)


def test_factories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import torch\ndef model(): return torch.nn.Linear(3, 2)\nready = model()\nnumber = 3\n")
    (tmp_path / "lost.py").write_text("torhc.nn\n")
    (tmp_path / "beside.py").write_text("from mine import model\n")
    with file.open("a") as more:
        more.write("def broken(): return torch.nn.Conv2d(3, 'a', 3)\n")
        more.write("def fixed(): return torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3), torch.nn.Linear(7, 7))\n")
    assert run(capsys, "trace", f"{tmp_path}/beside.py:model", "--input-size", 3)[0] == 0
    assert run(capsys, "trace", f"{file}:model", "--input-size", 3)[0] == 0
    assert run(capsys, "trace", f"{file}:ready", "--input-size", 3)[0] == 0
    assert run(capsys, "trace", "torchvision.models:alexnet")[0] == 0
    (tmp_path / "script.py").write_text("import sys\nsys.exit('usage: script')\n")
    for target, message in (
        (f"{tmp_path}/script.py:model", "script.py cannot be run (SystemExit: usage: script)"),
        ("resnet5O", "torchvision has no model 'resnet5O'; did you mean resnet50"),
        (f"{file}:modle", "has no 'modle'; did you mean model?"),
        (f"{file}:number", "is int, neither a model nor a function that makes one"),
        (f"{file}:fixed", "give the size it expects"),
        ("no_such_package:model", "no_such_package cannot be imported (ModuleNotFoundError"),
        ("../mine:model", "../mine cannot be imported (TypeError"),
        (f"{file}:broken", "mine.py:broken makes no model (TypeError: "),
        (f"{tmp_path}/lost.py:model", "lost.py cannot be run (NameError: name 'torhc' is not defined)"),
        (f"{tmp_path}/none.py:model", "there is no file"),
        ("builtins:dict", "makes dict, which is not a torch.nn.Module"),
        ("torch.nn:Linear", "cannot be called without arguments"),
    ):
        assert_refused(run(capsys, "trace", target), message)
    code, _, err = run(capsys, "trace", "vit_b_16", "--strict")
    assert code == 2
    assert "1 parameters have no node: class_token (a token concatenated with activations)" in err


def test_inputs_of_a_function(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\n"
        "class Model(torch.nn.Bilinear):\n"
        "    def __init__(self): super().__init__(3, 5, 2)\n"
        "    def forward(self, left, right): return super().forward(left, right)\n"
        "def inputs(): return {'left': torch.zeros(2, 3), 'right': torch.zeros(2, 5)}\n"
        "def nothing(): pass\n"
        "def broken(): raise KeyError('no')\n"
        "number = 3\n"
    )
    model = f"{file}:Model"
    assert run(capsys, "trace", model, "--inputs", f"{file}:inputs")[0] == 0
    assert_refused(run(capsys, "trace", model), "forward takes (left, right)")
    for inputs, message in (
        (f"{file}:nothing", "returns None; it must return a tensor, a tuple, or a dictionary"),
        (f"{file}:broken", "broken makes no inputs (KeyError: 'no')"),
        (f"{file}:number", "is int, not a function that makes inputs"),
        (f"{file}:input", "did you mean inputs"),
        ("inputs", "it must be file.py:function or package.module:function"),
    ):
        assert_refused(run(capsys, "trace", model, "--inputs", inputs), message)
    assert_refused(run(capsys, "trace", model, "--inputs", f"{file}:inputs", "--input-size", 3), "exclude each other")


def test_files_are_imported_only_while_they_are_traced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also a file named like an installed module, and one whose model imports in its forward."""
    (tmp_path / "besides.py").write_text("def scale(x): return 2 * x\n")
    file = tmp_path / "colorsys.py"
    file.write_text(
        "import torch\n"
        "class Model(torch.nn.Linear):\n"
        "    def __init__(self): super().__init__(3, 2)\n"
        "    def forward(self, x):\n"
        "        from besides import scale\n"
        "        return scale(super().forward(x))\n"
    )
    path, before = list(sys.path), sys.modules.get("colorsys")
    assert run(capsys, "trace", f"{file}:Model", "--input-size", 3)[0] == 0
    assert sys.path == path
    assert sys.modules.get("colorsys") is before
    import colorsys

    for target in (f"{file}:Model", f"{file}:None"):
        run(capsys, "trace", target, "--input-size", 3)
        assert sys.modules["colorsys"] is colorsys
    assert sys.path == path
