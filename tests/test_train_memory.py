"""400 classes with contexts of their own, batch 64, the text tower of ViT-B-32: within 2 GB on a CPU."""

import subprocess
import sys

import pytest
from conftest import ENVIRONMENT

CODE = """
import sys
import numpy as np, torch
from plfeat.backbone.text import TextTower
from plfeat.flows.backbones import open_backbone
from plfeat.bench.training import class_names
from plfeat.presets import train_config
from plfeat.train.build import Bare, Material, build_learner
from plfeat.train.fleet import Fleet, Samples

backbone = open_backbone("ViT-B-32", "random:0")
material = Material(Bare(TextTower(backbone.model, backbone.tokenizer)), class_names(400), (), 8, 512, 4.6)
del backbone
draw = np.random.default_rng(0)
features = torch.from_numpy(draw.standard_normal((128, 1, 8, 512), dtype=np.float32).astype(np.float16))
samples = Samples(features, torch.from_numpy(draw.integers(0, 400, 128)))
config = train_config(sys.argv[1], overrides=["seeds=[0]"])
fleet = Fleet(build_learner([config], material, torch.device("cpu")), [config], samples, torch.arange(128)[None])
fleet.one_epoch(None)
assert fleet.adamw.count == 2
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
@pytest.mark.slow
@pytest.mark.parametrize("preset", ["prompts", "paper", "plfeat"])
def test_four_hundred_classes_train_within_two_gigabytes(preset: str) -> None:
    """VmHWM, since getrusage's peak begins with that of the process that started this one."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, preset], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True
    )
    assert int(done.stdout) * 1024 < 2e9
