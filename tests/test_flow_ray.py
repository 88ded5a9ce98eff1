"""Extraction on a real Ray cluster of two nodes, one of which dies; and what one task makes, without a cluster."""

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ENVIRONMENT, ONE

from plfeat.config import ExtractConfig
from plfeat.errors import CacheError
from plfeat.extract.make import make_one
from plfeat.flows.backbones import open_backbone
from plfeat.flows.extract import prepare
from plfeat.records import silent
from plfeat.settings import build
from plfeat.shards.store import Store
from plfeat.shards.writer import shard_bytes

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

PLFEAT = [sys.executable, "-m", "plfeat_cli.main"]
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in (ENVIRONMENT | QUIET).items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    yield made
    made.shutdown()


def _shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").glob("*.h5"))}


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_midway_makes_the_same_bytes(
    cluster: Any, toy_store: Store, toy_folder: Path, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    command = [*PLFEAT, "extract", "--dataset", "toy", "--root", str(toy_folder), "--set", "shard=32", "--json"]
    command += ["--engine", "ray", "--address", cluster.address, "--workers", "1"]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("cache/toy/*/shards/*.h5")) and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.01)
    cluster.remove_node(node, allow_graceful=False)
    out, err = run.communicate(timeout=400)
    assert run.returncode == 0, err
    said = json.loads(out)
    assert said["complete"]
    assert Path(tmp_path / said["path"]).name == toy_store.path.name
    assert _shards(tmp_path / said["path"]) == _shards(toy_store.path)
    assert (tmp_path / said["path"] / "manifest.json").read_bytes() == (toy_store.path / "manifest.json").read_bytes()


def test_what_a_task_of_the_cluster_is_given_is_enough_for_the_same_bytes(
    small_store: Store, small_folder: Path, tmp_path: Path
) -> None:
    config = build(ExtractConfig, dataset="toy", model="toy", shard=8)
    work = prepare(config, small_folder, tmp_path, silent)
    for chunk in work.chunks()[1:4:2]:
        plain = json.loads(json.dumps([config.model_dump(mode="json"), work.kit.recipe.as_dict()]))
        files = {key: work.found.files[key] for key in chunk.takes}
        given = pickle.loads(pickle.dumps((*plain, chunk, files, ONE, open_backbone)))
        (made,) = make_one(*given).shards
        assert shard_bytes(made) == (small_store.path / "shards" / made.name).read_bytes()
    with pytest.raises(CacheError, match=r"a machine of the cluster .*dtype"):
        make_one(given[0] | {"dtype": "float32"}, *given[1:])


def test_no_cluster_at_an_address_is_one_line(
    small_folder: Path, tmp_path: Path, plfeat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["extract", "--dataset", "toy", "--root", str(small_folder), "--engine", "ray", "--quiet"]
    done = plfeat(*command, "--address", "127.0.0.1:1")
    assert done.code == 1
    assert "no Ray cluster answers there" in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
