"""The benches take the same step in every way, and tell what they measured."""

import json
from pathlib import Path

import numpy as np
import pytest

from plfeat.bench import clips, reading, timing, training
from plfeat.bench.reading import TAKE, bench_read, made_up_store
from plfeat.records import silent
from plfeat_cli.main import main


def test_all_four_ways_take_the_same_step(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setitem(timing._LARGE, "cpu", 256)  # what a chip can do is not asked here
    command = ["bench", "train", "--members", "2", "--steps", "1", "--repeats", "1", "--classes", "5"]
    assert main([*command, "--set", "optim.batch=8", "--json", "-q"]) == 0
    rates = json.loads(capfd.readouterr().out)
    assert rates["loss_difference"] < 1e-4
    assert set(rates["samples"]) == {"naive", "one", "fleet", "live"}
    assert rates["flops"]["naive"] > 2 * rates["flops"]["one"] > 0
    assert rates["flops"]["live"] > rates["flops"]["one"]
    reached = rates["flops"]["one"] * rates["samples"]["one"] / rates["batch"]
    assert rates["one_of_matmul"] == pytest.approx(reached / rates["matmul_flops"])
    monkeypatch.setattr(training, "bench_train", lambda *given, **named: training.TrainRates(**rates))
    assert main([*command, "--set", "optim.batch=8", "-q"]) == 0
    said = capfd.readouterr().out
    assert f"{rates['one_of_naive']:.1f} x naive, {rates['one_of_live']:.1f} x live" in said
    assert f"{rates['fleet_of_one']:.2f} x a fleet of one" in said


def test_more_classes_than_there_are_names_are_refused(capfd) -> None:
    assert main(["bench", "train", "--classes", "401"]) == 2
    assert "at most 400" in capfd.readouterr().err


def test_the_reader_is_measured_on_a_store_that_holds_every_video(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reading, "_SHARD", 48)
    store, keys = made_up_store(tmp_path, 100)
    assert len(store.manifest["shards"]) == 3
    assert store.rows(keys, TAKE).read().shape == (100, TAKE.frames, 512)
    monkeypatch.setattr(reading, "_VIDEOS", 200)
    rates = bench_read(1)
    assert rates.bytes == 200 * TAKE.frames * 512 * 2
    assert min(rates.of_memcpy, rates.first_of_memcpy, rates.random_videos, rates.batched_videos) > 0


def test_copies_of_a_clip_are_videos_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from plfeat.video.decode import read_frames
    from plfeat.video.digest import digest

    monkeypatch.setattr(clips, "_DRAWN", 1)
    with clips.own_clips(2, silent) as folder:
        one, other = sorted(folder.glob("*/*.mp4"))
        assert digest(one) != digest(other)
        frames = [read_frames(path, lambda seconds: np.array([0, 100]), "pyav").frames_UHWC for path in (one, other)]
    assert frames[0].tolist() == frames[1].tolist()


def test_extraction_is_measured_alone_and_together(capfd) -> None:
    command = ["bench", "extract", "--clips", "3", "--repeats", "1", "--workers", "1"]
    assert main([*command, "--json", "-q"]) == 0
    rates = json.loads(capfd.readouterr().out)["extract"]
    assert (rates["videos"], rates["frames"], rates["device"]) == (3, 24, "cpu")
    assert rates["of_limit"] > 0
    assert rates["of_naive"] > 0
