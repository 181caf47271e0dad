"""A run on two processes equals one on a single process."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import ghn_models
from tests.support.paths import ROOT
from tests.support.tiny_training import TINY, read_log, tiny_trainer

SPLIT = """
import sys
from dataclasses import replace
from pathlib import Path
import torch.distributed as dist
from ghn_models.training import trainer as loop
from ghn_models.training.distributed import ProcessGroup
from tests.support.tiny_training import TINY, tiny_trainer
loop._CALIBRATION_NETWORKS, loop._LOG_EVERY = 2, 1
recipe = replace(TINY, validation_networks=2, validation_images=None)
trainer = tiny_trainer(Path(sys.argv[1]), recipe, processes=ProcessGroup.join("cpu"))
trainer.run()
dist.destroy_process_group()
"""


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Each takes half of every meta-batch, over gloo."""
    whole = tiny_trainer(tmp_path / "whole", replace(TINY, validation_networks=2, validation_images=None))
    whole.run()
    script = tmp_path / "split.py"
    script.write_text(SPLIT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, str(tmp_path / "split")], check=True, cwd=ROOT, env=environment, timeout=240)
    for one, two in zip(read_log(tmp_path / "whole"), read_log(tmp_path / "split"), strict=True):
        assert one == pytest.approx(two, rel=1e-3, abs=5e-3)  # an image more or less
    split = ghn_models.checkpoints.folder.read_tensors(tmp_path / "split" / "step_0000006" / "model.safetensors")
    start = tiny_trainer(tmp_path / "start").ghn.state_dict()
    end = whole.ghn.state_dict()
    moved = torch.cat([(end[name] - start[name]).flatten() for name in end])
    apart = torch.cat([(end[name] - split[name]).flatten() for name in end])
    assert apart.norm() < 0.01 * moved.norm()  # Adam makes steps of rounding errors where a gradient is zero
