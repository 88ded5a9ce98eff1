"""Several GPUs, and one that is too small: which one a process takes, how many cores it has, what is said."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from plfeat.backbone.vision import FrameEncoder
from plfeat.config import ExtractConfig
from plfeat.errors import PlfeatError
from plfeat.extract.make import _needs, _share
from plfeat.flows.backbones import open_backbone
from plfeat.flows.extract import extract
from plfeat.frames.kit import local_device
from plfeat.means import Means
from plfeat.presets import train_config
from plfeat.records import silent
from plfeat.settings import build
from plfeat.train.fleet import Fleet

FULL = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 7.79 GiB of which 1.2 GiB is free. "
    "Including non-PyTorch memory, this process has 6.00 GiB memory in use."
)


@pytest.mark.parametrize(
    ("wanted", "environment", "device"),
    [
        (None, {}, "cuda"),
        (None, {"LOCAL_RANK": "2"}, "cuda:2"),
        ("cuda", {"LOCAL_RANK": "3"}, "cuda:3"),
        (None, {"LOCAL_RANK": "5"}, "cuda:1"),
        (None, {"SLURM_LOCALID": "1"}, "cuda:1"),
        ("cuda:1", {"LOCAL_RANK": "2"}, "cuda:1"),
        ("cpu", {"LOCAL_RANK": "2"}, "cpu"),
    ],
)
def test_a_rank_takes_its_own_gpu(
    wanted: str | None, environment: dict[str, str], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert local_device(wanted, environment) == device


def test_ranks_of_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    assert Means().workers == 16
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert Means().workers == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "64")
    assert Means().workers == 1


def test_on_ray_every_gpu_of_a_machine_has_its_share_of_the_cores() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 32.0, "GPU": 4.0}},
        {"Alive": True, "Resources": {"CPU": 64.0}},
        {"Alive": False, "Resources": {"CPU": 1.0, "GPU": 1.0}},
    ]
    assert _share(64, "cuda", nodes) == 8
    assert _share(3, "cuda", nodes) == 3
    assert _share(64, "cpu", nodes) == 64


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_on_ray_a_process_with_a_gpu_keeps_its_model_for_the_next_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's GPUs are numbers: it believes that there is one. Without `max_calls` each task had a process of its own."""
    import ray

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=1, num_gpus=1, log_to_driver=False, object_store_memory=100 << 20)
    try:
        task = ray.remote(**_needs(1, "cuda"))(lambda: os.getpid())
        assert len({ray.get(task.remote()) for _ in range(3)}) == 1
    finally:
        ray.shutdown()


def _too_small(*given: Any, **named: Any) -> Any:
    raise torch.OutOfMemoryError(FULL)


def test_an_extraction_that_does_not_fit_names_the_batch_and_what_that_means(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FrameEncoder, "forward", _too_small)
    with pytest.raises(PlfeatError) as caught:
        extract(build(ExtractConfig, dataset="toy", model="toy"), toy_folder, tmp_path, silent)
    assert str(caught.value) == (
        "the GPU's memory is too small (Tried to allocate 2.50 GiB, total capacity of 7.79 GiB); --set batch=16 takes "
        "less"
    )


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (
            "[0,1,2,3]",
            "--set 'seeds=[0,1]', a few seeds at a time, takes less and trains the same; --set optim.batch=32",
        ),
        ("[7]", "7.79 GiB); --set optim.batch=32 takes less, in another training"),
    ],
)
def test_a_fleet_that_does_not_fit_names_its_seeds_and_its_batch(
    seeds: str, said: str, toy_desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plfeat.flows.train import train_frozen

    monkeypatch.setattr(Fleet, "step", _too_small)
    with pytest.raises(PlfeatError) as caught:
        train_frozen(train_config("vit", overrides=[f"seeds={seeds}"]), toy_desk, tmp_path, silent)
    assert said in str(caught.value)


def test_the_count_of_operations_sees_fused_attention() -> None:
    """Of the toy tower by hand: patches, and in every block four products of the width, two of the MLP, two of the
    attention; the last projection."""
    from plfeat.bench.timing import counted

    backbone = open_backbone("toy", None)
    encoder: Any = FrameEncoder(backbone.model, backbone.preprocess)
    visual: Any = backbone.model.visual
    width, patch = visual.conv1.weight.shape[0], visual.conv1.weight.shape[-1]
    patches = (encoder.pixels.size[0] // patch) ** 2
    tokens, blocks = patches + 1, visual.transformer.resblocks
    hidden = blocks[0].mlp.c_fc.weight.shape[0]
    block = 2 * tokens * (4 * width**2 + 2 * width * hidden) + 4 * tokens**2 * width
    expected = 2 * patches * 3 * patch**2 * width + len(blocks) * block + 2 * width * visual.proj.shape[1]
    assert counted(lambda: encoder.forward(encoder.blank(1))) == expected
    assert torch.backends.mha.get_fastpath_enabled()
