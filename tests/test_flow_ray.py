"""Extraction on a real Ray cluster: two nodes on this machine, and one of them dies."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ENVIRONMENT

from plfeat.shards.reader import Cache

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


def test_a_cluster_that_loses_a_node_midway_makes_the_same_bytes(
    cluster: Any, toy_cache: Cache, toy_folder: Path, tmp_path: Path
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
    assert Path(tmp_path / said["path"]).name == toy_cache.path.name
    assert _shards(tmp_path / said["path"]) == _shards(toy_cache.path)
    assert (tmp_path / said["path"] / "manifest.json").read_bytes() == (toy_cache.path / "manifest.json").read_bytes()


def test_no_cluster_at_an_address_is_one_line(toy_folder: Path, tmp_path: Path) -> None:
    command = [*PLFEAT, "extract", "--dataset", "toy", "--root", str(toy_folder), "--engine", "ray", "--quiet"]
    done = subprocess.run(
        [*command, "--address", "127.0.0.1:1"], cwd=tmp_path, env=os.environ | ENVIRONMENT | QUIET, text=True,
        capture_output=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no Ray cluster answers there" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
