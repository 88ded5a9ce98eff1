"""Training, testing and predicting as commands: every preset, killed and resumed, transferred, and fed with rubbish."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ENVIRONMENT, Said, extracted, quick
from safetensors.torch import load_file, save_file

from plfeat.desk import Desk, TextSide
from plfeat.errors import DataError, UsageError
from plfeat.files import claimed
from plfeat.flows.desks import Wanted, open_desk
from plfeat.flows.evaluate import evaluate
from plfeat.flows.train import train_frozen
from plfeat.presets import PRESETS, idle_keys, train_config
from plfeat.records import silent
from plfeat.report.runs import load_run, save_run
from plfeat.shards.store import open_store
from plfeat.train.fleet import Fleet
from plfeat_cli.main import main

QUICK = ("optim.epochs=2", "interaction.hidden=16", "head.layers=1", "seeds=[0,1]")
PLFEAT = [sys.executable, "-m", "plfeat_cli.main"]


def sets(*more: str, preset: str = "prompts") -> list[str]:
    idle = idle_keys(train_config(preset, overrides=more))
    kept = [override for override in QUICK if override.partition("=")[0] not in idle]
    return [word for key in (*kept, *more) for word in ("--set", key)]


@pytest.fixture(scope="module")
def trained(toy_desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of the whole thing, class contexts and pairwise interaction."""
    folder = tmp_path_factory.mktemp("trained")
    train_frozen(quick("plfeat", QUICK), toy_desk, folder, silent)
    return folder


@pytest.fixture(scope="module")
def other_desk(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Another dataset: four of the toy actions under names of their own."""
    base = tmp_path_factory.mktemp("other")
    names = {"glowing ring": "a ring glows", "glowing star": "a star glows"}
    names |= {"spinning star": "a star spins", "bouncing ring": "a ring bounces"}
    for split in ("train", "test"):
        for old, new in names.items():
            shutil.copytree(toy_folder / split / old, base / "videos" / split / new)
    return extracted(base / "videos", base / "cache")


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains_and_is_tested(preset: str, toy_desk: Desk, tmp_path: Path, capfd) -> None:
    command = [
        "train",
        "--frozen",
        "--preset",
        preset,
        "--cache",
        str(toy_desk.store.path),
        "--out",
        str(tmp_path),
        "--json",
    ]
    assert main([*command, *sets(preset=preset)]) == 0
    out, _ = capfd.readouterr()
    (row,) = json.loads(out)["rows"]
    assert row["n"] == 72
    tops = []
    for record in tmp_path.rglob("record.json"):
        said, run = json.loads(record.read_text()), load_run(record.parent)
        assert said["config"]["preset"] == preset
        assert said["fingerprint"] == toy_desk.store.fingerprint
        assert (said["list"], said["fold"], said["takes"]["test"]) == (toy_desk.title, 1, ["centre-8"])
        if preset != "nearest-mean":  # whose scores are cosines
            np.testing.assert_allclose(run.scores_NC.sum(axis=1), 1, rtol=1e-4)
        tops.append((run.scores_NC.argmax(axis=1) == run.label_N).mean())
    assert row["top1"] == pytest.approx(np.mean(tops))


def test_a_shot_is_one_video_of_every_class_another_for_every_seed(toy_desk: Desk, tmp_path: Path) -> None:
    for preset in ("prompts", "linear-probe", "tip-adapter", "nearest-mean"):
        config = quick(preset, QUICK, "data.shots=1")
        runs = train_frozen(config, toy_desk, tmp_path / preset, silent).runs
        assert [run.seed for run in runs] == [0, 1]
        assert runs[0].method.startswith(f"{preset}, data.shots=1")
        assert not np.array_equal(runs[0].scores_NC, runs[1].scores_NC)


def test_the_record_says_how_the_epoch_was_chosen(toy_desk: Desk, tmp_path: Path) -> None:
    last = train_frozen(quick("prompts", QUICK), toy_desk, tmp_path / "last", silent).runs[0]
    assert last.about["protocol"] == "the last of 2 epochs; nothing was selected"
    assert last.about["trained_on"] == 48
    assert not (tmp_path / "last" / "seed-0" / "last.safetensors").exists()
    config = quick("prompts", QUICK, "data.holdout=0.5", "select=best")
    best = train_frozen(config, toy_desk, tmp_path / "best", silent).runs[0]
    assert best.about["protocol"].endswith("of 2, the earliest best on 24 held-out training videos")
    assert best.about["trained_on"] == 24
    assert (tmp_path / "best" / "seed-0" / "last.safetensors").exists()


def test_log_and_curve_have_a_line_for_every_epoch(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert set(lines[0]["loss"]) == {"0", "1"}
    for seed in (0, 1):
        curve = (trained / f"seed-{seed}" / "curve.csv").read_text().splitlines()
        assert curve[0] == "epoch,loss,val_top1"
        assert float(curve[1].split(",")[1]) == pytest.approx(lines[0]["loss"][str(seed)], abs=1e-5)


def test_curves_are_drawn_for_tensorboard(toy_desk: Desk, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_frozen(quick("prompts", QUICK), toy_desk, tmp_path, silent, track="tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/seed-1")] == [1, 2]
    train_frozen(quick("prompts", QUICK), toy_desk, tmp_path, silent, track="tensorboard")
    assert len(list((tmp_path / "tensorboard").glob("events*"))) == 1
    assert events.Tags()["tensors"] == ["settings/text_summary"]


def _tracked_by_wandb(toy_desk: Desk, out: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [*PLFEAT, "train", "--frozen", "--cache", str(toy_desk.store.path), "--out", str(out), *sets()]
    environment = {**ENVIRONMENT, "HOME": str(out.parent), "WANDB_CONFIG_DIR": str(out.parent), **more}
    environment.pop("WANDB_API_KEY", None)
    return subprocess.run([*command, "--track", "wandb", "--json"], env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_curves_and_settings_go_to_wandb(toy_desk: Desk, tmp_path: Path) -> None:
    """Its own service, offline: what would be sent later lies in a file."""
    done = _tracked_by_wandb(toy_desk, tmp_path / "run", WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    (log,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    for word in (b"loss/seed-0", b"loss/seed-1", b"weight_decay"):
        assert word in log.read_bytes()


def test_wandb_without_an_account_is_one_line(
    toy_desk: Desk, tmp_path: Path, plfeat: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    command = ["train", "--frozen", "--cache", str(toy_desk.store.path), "--out", str(tmp_path / "run"), *sets()]
    done = plfeat(*command, "--track", "wandb", "--json")
    assert (done.code, done.out) == (2, "")
    assert "WANDB_MODE=offline" in done.err.splitlines()[-1]


def test_killed_and_resumed_it_is_the_uninterrupted_run(toy_desk: Desk, tmp_path: Path) -> None:
    """SIGKILL as soon as a state is there; `--resume` ends with the same bytes."""
    keys = sets("optim.epochs=60", "context.sharing=shared")
    command = ["train", "--frozen", "--cache", str(toy_desk.store.path), "--quiet", *keys]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    killed = tmp_path / "killed"
    code = "import plfeat.flows.train as t, sys; t.SAVE_EVERY = 0.0\nfrom plfeat_cli.main import main; sys.exit(main())"
    slow = [sys.executable, "-c", code, *command, "--out", str(killed)]
    run = subprocess.Popen(slow, env=ENVIRONMENT)
    state, deadline = killed / "unfinished.safetensors", time.time() + 120
    while not state.exists() and run.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert state.exists()
    assert not list(killed.rglob("record.json"))
    assert main([*command, "--out", str(killed), "--resume"]) == 0
    assert not state.exists()
    for name in ("log.jsonl", *(f"seed-{s}/{f}" for s in (0, 1) for f in ("model.safetensors", "curve.csv"))):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    for seed in (0, 1):
        one, two = (load_run(folder / f"seed-{seed}").scores_NC for folder in (killed, tmp_path / "whole"))
        assert np.array_equal(one, two)


def test_resumed_what_is_whole_is_not_trained_again(toy_desk: Desk, tmp_path: Path, monkeypatch) -> None:
    """Towers that are tuned are trained one after the other: of two, one was done when it stopped."""
    trained, run = [], Fleet.run
    monkeypatch.setattr(Fleet, "run", lambda fleet, *rest: (trained.append(fleet.seeds), run(fleet, *rest)))
    config = quick("text-tuned", QUICK, "optim.epochs=1")
    first = train_frozen(config, toy_desk, tmp_path, silent)
    (tmp_path / "seed-1" / "record.json").unlink()
    again = train_frozen(config, toy_desk, tmp_path, silent, resume=True)
    assert trained == [(0,), (1,), (1,)]
    for one, two in zip(first.runs, again.runs, strict=True):
        assert one.seed == two.seed
        np.testing.assert_array_equal(one.scores_NC, two.scores_NC)
    other = quick("text-tuned", QUICK, "optim.epochs=1", "optim.encoder_rate=1e-4")
    with pytest.raises(UsageError, match="seed-0 is of another training"):
        train_frozen(other, toy_desk, tmp_path, silent, resume=True)
    assert trained[3:] == []


def test_a_state_of_other_settings_is_refused(toy_desk: Desk, tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.setattr("plfeat.flows.train.SAVE_EVERY", 0.0)
    command = ["train", "--frozen", "--cache", str(toy_desk.store.path), "--out", str(tmp_path), "-q"]
    with monkeypatch.context() as patch:
        patch.setattr("plfeat.train.fleet.Fleet.choose", lambda fleet: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main([*command, *sets()]) == 130
    state = (tmp_path / "unfinished.safetensors").read_bytes()
    assert main([*command, *sets("optim.rate=1"), "--resume"]) == 2
    err = capfd.readouterr().err
    assert "other settings or another cache" in err
    assert (tmp_path / "unfinished.safetensors").read_bytes() == state


def test_a_run_tested_again_says_the_same(trained: Path, toy_desk: Desk, tmp_path: Path, capfd) -> None:
    assert main(["eval", str(trained), "--cache", str(toy_desk.store.path), "--out", str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)["rows"]
    assert row["seeds"] == 2
    for seed in (0, 1):
        again = load_run(tmp_path / f"{trained.name}-seed-{seed}")
        first = load_run(trained / f"seed-{seed}")
        np.testing.assert_allclose(again.scores_NC, first.scores_NC, rtol=1e-5, atol=1e-7)
        assert again.method == first.method


def test_a_table_says_on_which_split_it_was_made(trained: Path, toy_desk: Desk, tmp_path: Path, capfd) -> None:
    command = ["eval", str(trained), "--cache", str(toy_desk.store.path), "--split", "train", "--out", str(tmp_path)]
    assert main(command) == 0
    assert f"n = {len(toy_desk.split('train').label_N)} train videos" in capfd.readouterr().err


def test_tip_adapter_f_keeps_its_videos_and_their_classes(
    toy_desk: Desk, toy_folder: Path, tmp_path: Path, capfd
) -> None:
    config = quick("tip-adapter-f", QUICK, "data.shots=2", "optim.module_rate=0.01")
    train_frozen(config, toy_desk, tmp_path / "tip", silent)
    command = ["eval", str(tmp_path / "tip"), "--cache", str(toy_desk.store.path), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    for seed in (0, 1):
        first, again = load_run(tmp_path / "tip" / f"seed-{seed}"), load_run(tmp_path / "out" / f"tip-seed-{seed}")
        np.testing.assert_allclose(again.scores_NC, first.scores_NC, rtol=1e-5, atol=1e-7)
    capfd.readouterr()
    video = next(path for path in toy_folder.rglob("*.mp4") if str(path).endswith(first.id_N[0]))
    assert main(["predict", str(video), "--run", str(tmp_path / "tip" / "seed-1"), "--top", "24", "--json"]) == 0
    (found,) = json.loads(capfd.readouterr().out)
    shares = [dict(found["best"])[name] for name in first.classes]
    np.testing.assert_allclose(shares, first.scores_NC[0], atol=2e-3)
    _edited(tmp_path / "tip" / "seed-1", lambda about, _: about.pop("key_label"))
    assert main(["predict", str(video), "--run", str(tmp_path / "tip" / "seed-1")]) == 3
    assert "does not say which classes its cached videos have" in capfd.readouterr().err


def test_shared_contexts_are_tested_on_classes_they_never_saw(
    toy_desk: Desk, other_desk: Desk, tmp_path: Path, capfd
) -> None:
    shared = quick("plfeat", QUICK, "context.sharing=shared")
    train_frozen(shared, toy_desk, tmp_path / "shared", silent)
    command = ["eval", str(tmp_path / "shared"), "--cache", str(other_desk.store.path), "--out", str(tmp_path / "out")]
    assert main([*command, "--json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)["rows"]
    assert row["method"].startswith("plfeat, context.sharing=shared")
    assert row["method"].endswith(f", from {toy_desk.title}")
    run = load_run(tmp_path / "out" / "shared-seed-0")
    assert run.classes == other_desk.words
    assert run.about["protocol"] == f"trained on {toy_desk.title}, tested here without training"


@pytest.mark.parametrize("preset", ["prompts", "vit", "tip-adapter-f"])
def test_what_belongs_to_classes_cannot_be_tested_on_others(
    preset: str, toy_desk: Desk, other_desk: Desk, tmp_path: Path, capfd
) -> None:
    train_frozen(quick(preset, QUICK), toy_desk, tmp_path / "run", silent)
    command = ["eval", str(tmp_path / "run"), "--cache", str(other_desk.store.path), "--out", str(tmp_path / "out")]
    assert main(command) == 3
    assert f"of its own 24 classes; list {other_desk.title} has 4 others" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_video_is_predicted_and_explained(trained: Path, toy_folder: Path, capfd) -> None:
    videos = [str(next((toy_folder / "test" / name).iterdir())) for name in ("glowing ring", "spinning star")]
    command = ["predict", *videos, "--run", str(trained / "seed-0"), "--explain", "-q"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [one["video"] for one in found] == videos
    for one in found:
        shares = [share for _, share in one["best"]]
        assert len(shares) == 5
        assert shares == sorted(shares, reverse=True)
        why = one["why"]
        assert len(why["frames"]) == len(one["frame_index"]) == 8
        assert sum(why["frames"]) == pytest.approx(1, abs=1e-4)
        assert [sum(step) for step in why["word_attention"]] == pytest.approx([1, 1, 1], abs=1e-4)
        assert why["words"][:2] == ["[V1]", "[V2]"]
        assert why["words"][-1] == "."
        assert len(why["contexts"]) == 16
        # the phrase it started from is still what the last contexts are nearest to
        assert why["words"][16:-1] == one["best"][0][0].split()
    assert main(command) == 0
    text = capfd.readouterr().out
    assert "[V1] is nearest to" in text
    assert "words, step 3" in text


def test_predictions_are_those_of_the_test(trained: Path, toy_folder: Path, toy_desk: Desk, capfd) -> None:
    run = load_run(trained / "seed-0")
    videos = [str(next(toy_folder.rglob(Path(name).name))) for name in run.id_N[:6]]
    assert main(["predict", *videos, "--run", str(trained / "seed-0"), "--top", "24", "--json", "-q"]) == 0
    for row, one in enumerate(json.loads(capfd.readouterr().out)):
        for name, share in one["best"]:
            assert share == pytest.approx(float(run.scores_NC[row, run.classes.index(name)]), abs=2e-3)


def test_a_video_that_cannot_be_read_does_not_stop_the_others(
    trained: Path, toy_folder: Path, tmp_path: Path, capfd
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    good = next((toy_folder / "test" / "glowing ring").iterdir())
    videos = [str(tmp_path / "bad.mp4"), str(good), str(tmp_path / "none.mp4")]
    assert main(["predict", *videos, "--run", str(trained / "seed-0"), "--json", "-q"]) == 3
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert [bool(one["best"]) for one in found] == [False, True, False]
    assert "2 of 3 videos could not be read" in err
    assert len(err.splitlines()) == 1


def _copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "seed-0", tmp_path / "run"))


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Not mapped: the file is about to be written to."""
    return {name: value.clone() for name, value in load_file(folder / "model.safetensors").items()}


def _pickled(folder: Path) -> None:
    torch.save(_tensors(folder), folder / "model.safetensors")


def _headless(folder: Path) -> None:
    save_file(_tensors(folder), folder / "model.safetensors")


def _edited(folder: Path, change) -> None:
    from safetensors import safe_open

    path = folder / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["plfeat"])
    tensors = _tensors(folder)
    change(about, tensors)
    save_file(tensors, path, metadata={"plfeat": json.dumps(about)})


def _other_backbone(folder: Path) -> None:
    _edited(folder, lambda about, _: about["recipe"]["encoder"].update(image_sha256="0" * 64))


def _other_activation(folder: Path) -> None:
    _edited(folder, lambda about, _: about["recipe"]["encoder"].update(activation="quick_gelu"))


def _lacks_a_tensor(folder: Path) -> None:
    _edited(folder, lambda _, tensors: tensors.pop("log_scale_E"))


def _other_shape(folder: Path) -> None:
    _edited(folder, lambda _, tensors: tensors.update({"log_scale_E": torch.zeros(3)}))


def _other_tower(folder: Path) -> None:
    _edited(folder, lambda about, _: about.update(text_sha256="0" * 64))


def _classes_of_another_order(folder: Path) -> None:
    def turn(about: dict, _: object) -> None:
        about["raw_classes"][:2] = about["raw_classes"][1::-1]

    _edited(folder, turn)


def _other_order(folder: Path) -> None:
    names = json.loads((folder / "classes.json").read_text())
    (folder / "classes.json").write_text(json.dumps([names[1], names[0], *names[2:]]))


def _no_model(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _empty_settings(folder: Path) -> None:
    (folder / "config.json").write_text("")


BAD = [
    (_empty_settings, 3, "config.json is not what model.safetensors was trained with"),
    (_pickled, 3, "not a safetensors file"),
    (_headless, 3, "not a safetensors file of plfeat"),
    (_other_backbone, 4, "trained over features with image_sha256 0000000000000000, but store"),
    (_other_tower, 4, "trained with a text tower of text_sha256 0000000000000000"),
    (_other_activation, 4, "trained over features with activation quick_gelu"),
    (_lacks_a_tensor, 3, "expected the tensors of config.json's model, found others (log_scale_E)"),
    (_other_shape, 3, "log_scale_E is [3], this model needs []"),
    (_classes_of_another_order, 3, "class 0 was 'glowing star', in list toy@"),
    (_other_order, 3, "classes.json is not what model.safetensors was trained with"),
    (_no_model, 3, "no trained model under"),
    (lambda folder: (folder / "config.json").write_text("{"), 3, "config.json"),
    (lambda folder: (folder / "classes.json").write_text("{}"), 3, "classes.json is not a list of names"),
]


@pytest.mark.parametrize(("harm", "code", "said"), BAD)
def test_a_wrong_run_is_one_line_and_nothing_is_written(
    harm, code: int, said: str, trained: Path, toy_desk: Desk, tmp_path: Path, capfd
) -> None:
    run = _copy(trained, tmp_path)
    harm(run)
    assert main(["eval", str(run), "--cache", str(toy_desk.store.path), "--out", str(tmp_path / "out"), "-q"]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1, err
    assert not (tmp_path / "out").exists()


def test_a_seed_that_diverges_is_reported_and_the_others_are_whole(
    toy_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    one_epoch = Fleet.one_epoch

    def poisoned(self: Fleet, val: object) -> None:
        if self.state.epoch == 1:
            self.learner.source.prompts.contexts.data[1, 0, 0, 0] = torch.nan  # type: ignore[attr-defined]
        one_epoch(self, val)  # type: ignore[arg-type]

    command = ["train", "--frozen", "--cache", str(toy_desk.store.path), "-q", *sets("optim.epochs=3")]
    assert main([*command, "--out", str(tmp_path / "well")]) == 0
    monkeypatch.setattr(Fleet, "one_epoch", poisoned)
    assert main([*command, "--out", str(tmp_path / "ill"), "--json"]) == 1
    out, err = capfd.readouterr()
    assert err.splitlines()[-1].startswith("plfeat: 1 runs are whole, but training diverged for seed 1 in epoch 2")
    assert json.loads(out[out.index("{") :])["rows"][0]["seeds"] == 1
    assert not (tmp_path / "ill" / "seed-1").exists()
    one, two = (load_run(tmp_path / folder / "seed-0").scores_NC for folder in ("well", "ill"))
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
    losses = [json.loads(line)["loss"]["1"] for line in (tmp_path / "ill" / "log.jsonl").read_text().splitlines()]
    assert losses[1:] == [None, None]


def test_if_every_seed_diverges_there_is_no_result(toy_desk: Desk, tmp_path: Path, capfd) -> None:
    command = ["train", "--frozen", "--cache", str(toy_desk.store.path), "--out", str(tmp_path), "-q"]
    assert main([*command, *sets("optim.rate=1000", "optim.epochs=20")]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "training diverged (seed 0 in epoch" in err
    assert not list(tmp_path.rglob("record.json"))


@pytest.fixture(scope="module")
def sampled(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Some of the same videos, two random views of the training videos, three of the others."""
    views = {"sample.seed": 9, "sample.test_views": 3, "sample.views": 2}
    return extracted(small_folder, tmp_path_factory.mktemp("sampled"), "toy", **views)


def test_samples_of_a_video_are_averaged_or_the_centre_is_looked_at(sampled: Desk, tmp_path: Path, capfd) -> None:
    """The paper tests on ten random samples; a store that has them can be tested on fewer."""
    run = train_frozen(quick("plfeat", QUICK), sampled, tmp_path / "run", silent).runs[0]
    assert run.about["config"]["data"] | {"views": 2, "test_views": 3} == run.about["config"]["data"]
    for views in (1, 3):
        command = ["eval", str(tmp_path / "run" / "seed-0"), "--cache", str(sampled.store.path), "--views", str(views)]
        assert main([*command, "--out", str(tmp_path / str(views)), "-q"]) == 0
    one, three = (load_run(next((tmp_path / v).rglob("record.json")).parent) for v in ("1", "3"))
    np.testing.assert_allclose(three.scores_NC, run.scores_NC, rtol=1e-5, atol=1e-7)
    assert three.method == run.method
    assert not np.allclose(one.scores_NC, three.scores_NC, atol=1e-3)
    assert one.method.endswith(", views=1")
    assert main([*command[:-1], "4"]) == 2
    assert "data.test_views=4: store" in capfd.readouterr().err


def test_other_views_are_another_row_and_those_that_are_read_anyway_none(sampled: Desk, tmp_path: Path) -> None:
    named = {}
    for value in ("data.test_views=1", "data.test_views=2", "data.test_views=3", "data.views=1", "data.frames=8"):
        config = quick("prompts", QUICK, "seeds=[0]", value)
        run = train_frozen(config, sampled, tmp_path / value, silent).runs[0]
        named[value] = run.method.partition("optim")[0]
        key, _, number = value.partition("=")
        assert run.about["config"]["data"][key[5:]] == int(number)
    assert named == {
        "data.test_views=1": "prompts, data.test_views=1, ",
        "data.test_views=2": "prompts, data.test_views=2, ",
        "data.test_views=3": "prompts, ",
        "data.views=1": "prompts, data.views=1, ",
        "data.frames=8": "prompts, ",
    }


def test_what_was_learned_elsewhere_never_shares_a_row(toy_desk: Desk, sampled: Desk, tmp_path: Path, capfd) -> None:
    """Not even where the dataset has the same name: it may be another fold of it."""
    train_frozen(quick("prompts", QUICK, "seeds=[0]"), toy_desk, tmp_path / "here", silent)
    train_frozen(quick("prompts", QUICK, "seeds=[1]"), sampled, tmp_path / "there", silent)
    command = ["eval", str(tmp_path / "here"), str(tmp_path / "there"), "--cache", str(toy_desk.store.path)]
    assert main([*command, "--out", str(tmp_path / "both"), "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)["rows"]
    assert [(row["method"], row["seeds"]) for row in rows] == [
        ("prompts, optim.epochs=2", 1),
        (f"prompts, optim.epochs=2, from {sampled.title}", 1),
    ]


def test_runs_of_the_same_name_are_tested_beside_each_other_and_copies_once(
    toy_desk: Desk, tmp_path: Path, capfd
) -> None:
    one, other = quick("prompts", QUICK, "seeds=[0]"), quick("prompts", QUICK, "seeds=[0]", "context.tokens=8")
    train_frozen(one, toy_desk, tmp_path / "a" / "x", silent)
    train_frozen(other, toy_desk, tmp_path / "b" / "x", silent)
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    command = ["eval", *(str(tmp_path / name) for name in "abc"), "--cache", str(toy_desk.store.path), "--json"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    rows = json.loads(capfd.readouterr().out)["rows"]
    assert [(row["method"], row["seeds"]) for row in rows] == [
        ("prompts, optim.epochs=2", 1),
        ("prompts, context.tokens=8, optim.epochs=2", 1),
    ]
    assert {load_run(folder).method for folder in (tmp_path / "out").iterdir()} == {row["method"] for row in rows}


def test_a_training_and_its_evaluation_can_share_a_table(trained: Path, toy_desk: Desk, tmp_path: Path, capfd) -> None:
    """Alone and in a fleet the last bits of a score may differ; that is no other run."""
    for split in ("test", "train"):
        command = ["eval", str(trained), "--cache", str(toy_desk.store.path), "--out", str(tmp_path / split)]
        assert main([*command, "--split", split]) == 0
    capfd.readouterr()
    assert main(["report", str(trained), str(tmp_path / "test"), "--out", str(tmp_path / "table"), "--json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)["rows"]
    assert row["seeds"] == 2
    assert main(["report", str(trained), str(tmp_path / "train"), "--out", str(tmp_path / "no")]) == 3
    assert "over different videos (" in capfd.readouterr().err
    assert not (tmp_path / "no").exists()


def test_resumed_another_trainings_model_is_not_taken_for_ones_own(toy_desk: Desk, tmp_path: Path) -> None:
    """As after a kill between the files of a second training into the same folder."""
    own, other = quick("prompts", QUICK, "seeds=[0]"), quick("prompts", QUICK, "seeds=[0]", "optim.rate=0.05")
    for name, config in (("own", own), ("other", other)):
        train_frozen(config, toy_desk, tmp_path / name, silent)
    model = (tmp_path / "own" / "seed-0" / "model.safetensors").read_bytes()
    for damage in ("model.safetensors", "config.json", "scores.npz"):
        again = Path(shutil.copytree(tmp_path / "own", tmp_path / f"again-{damage}"))
        shutil.copy(tmp_path / "other" / "seed-0" / damage, again / "seed-0" / damage)
        if damage == "scores.npz":
            (again / "seed-0" / damage).write_bytes(b"")
        train_frozen(own, toy_desk, again, silent, resume=True)
        assert (again / "seed-0" / "model.safetensors").read_bytes() == model
        assert load_run(again / "seed-0").method == load_run(tmp_path / "own" / "seed-0").method
        assert (
            main(["eval", str(again), "--cache", str(toy_desk.store.path), "--out", str(tmp_path / f"e-{damage}")]) == 0
        )


@pytest.mark.parametrize(
    ("preset", "more", "first"),
    [
        ("release", (), "[V1]"),
        ("plfeat", ("text.source=templates",), None),
        ("paper", ("text.source=templates", "text.template=behold {} now"), "behold"),
    ],
)
def test_texts_that_nobody_learned_are_explained_too(
    preset: str, more: tuple[str, ...], first: str | None, toy_desk: Desk, toy_folder: Path, tmp_path: Path, capfd
) -> None:
    train_frozen(quick(preset, QUICK, "seeds=[0]", *more), toy_desk, tmp_path / "run", silent)
    video = str(next((toy_folder / "test" / "spinning star").iterdir()))
    command = ["predict", video, "--run", str(tmp_path / "run" / "seed-0"), "--explain", "-q"]
    if first is None or first != "[V1]":  # in words; learned ones are shown above
        assert main(command) == 0
        assert "words, step 1" in capfd.readouterr().out
    assert main([*command, "--json"]) == 0
    (found,) = json.loads(capfd.readouterr().out)
    words = found["why"]["words"]
    assert all(len(step) == len(words) for step in found["why"]["word_attention"])
    assert found["why"]["word_attention"]
    assert " ".join(found["best"][0][0].split()) in " ".join(words)
    assert first is None or words[0] == first


def test_what_an_earlier_run_left_in_the_folder_goes(toy_desk: Desk, tmp_path: Path, capfd) -> None:
    best = quick("prompts", QUICK, "seeds=[0]", "select=best", "data.holdout=0.5")
    train_frozen(best, toy_desk, tmp_path, silent)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "seed-0").iterdir()}
    assert len(set(modes.values())) == 1, modes
    train_frozen(quick("prompts", QUICK, "seeds=[0]"), toy_desk, tmp_path, silent)
    assert not (tmp_path / "seed-0" / "last.safetensors").exists()
    train_frozen(train_config("nearest-mean", overrides=["seeds=[0]"]), toy_desk, tmp_path, silent)
    assert sorted(path.name for path in (tmp_path / "seed-0").iterdir()) == ["record.json", "scores.npz"]
    assert main(["eval", str(tmp_path), "--cache", str(toy_desk.store.path), "--out", str(tmp_path / "out")]) == 3


@pytest.mark.parametrize("preset", ["prompts", "text-tuned", "nearest-mean"])
def test_two_trainings_do_not_write_into_one_folder(preset: str, toy_desk: Desk, tmp_path: Path, capfd) -> None:
    command = [
        "train",
        "--frozen",
        "--preset",
        preset,
        "--cache",
        str(toy_desk.store.path),
        "--out",
        str(tmp_path / "one"),
    ]
    with claimed(tmp_path / "one"):
        assert main([*command, "-q"]) == 2
    assert "another training writes there now" in capfd.readouterr().err
    assert not (tmp_path / "one").exists()


def test_no_training_leaves_its_runs_beside_anothers(toy_desk: Desk, tmp_path: Path, capfd) -> None:
    train_frozen(quick("prompts", QUICK), toy_desk, tmp_path / "runs", silent)
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    for command in (["--preset", "nearest-mean"], ["--preset", "vit", "--set", "seeds=[0,2]"], ["--resume"]):
        assert (
            main(["train", "--frozen", "--cache", str(toy_desk.store.path), "--out", str(tmp_path / "runs"), *command])
            == 2
        )
        assert "is of another training (prompts, optim.epochs=2)" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()} == before
    more = quick("prompts", QUICK, "seeds=[2]")
    assert [run.seed for run in train_frozen(more, toy_desk, tmp_path / "runs", silent).runs] == [2]


def test_no_record_ever_stands_beside_anothers_scores(trained: Path, tmp_path: Path) -> None:
    """Not even when it is killed between the two."""
    run = load_run(trained / "seed-0")
    folder = Path(shutil.copytree(trained / "seed-1", tmp_path / "seed-1"))
    with pytest.raises(TypeError):
        save_run(run, {"no": object()}, folder)
    with pytest.raises(DataError, match=r"record\.json is missing"):
        load_run(folder)


def test_an_evaluation_is_never_written_over_another(toy_desk: Desk, tmp_path: Path) -> None:
    one, other = quick("prompts", QUICK, "seeds=[0]"), quick("prompts", QUICK, "seeds=[0]", "context.tokens=8")
    train_frozen(one, toy_desk, tmp_path / "a" / "x", silent)
    train_frozen(other, toy_desk, tmp_path / "b" / "x", silent)
    for which in ("a", "b", "b", "a"):
        command = [
            "eval",
            str(tmp_path / which),
            "--cache",
            str(toy_desk.store.path),
            "--out",
            str(tmp_path / "out"),
            "-q",
        ]
        assert main(command) == 0
    assert main([*command, "--split", "train"]) == 0
    assert {path.name: load_run(path).method for path in sorted((tmp_path / "out").iterdir())} == {
        "x-seed-0": "prompts, optim.epochs=2",
        "x-seed-0-2": "prompts, context.tokens=8, optim.epochs=2",
        "x-seed-0-3": "prompts, optim.epochs=2",
    }


def test_what_keeps_no_model_cannot_be_tested_again_and_says_so(trained: Path, toy_desk: Desk, tmp_path: Path, capfd):
    train_frozen(train_config("nearest-mean"), toy_desk, tmp_path / "mean", silent)
    command = ["eval", str(trained), str(tmp_path / "mean"), "--cache", str(toy_desk.store.path)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 3
    assert "methods that learn nothing by gradient keep none" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_head_for_other_frames_is_refused_before_anything_is_written(
    toy_desk: Desk, small_folder: Path, trained: Path, tmp_path: Path, capfd
) -> None:
    four = extracted(small_folder, tmp_path / "cache", "toy", **{"sample.frames": 4}).store.path
    train_frozen(quick("actionclip-transf", QUICK, "seeds=[0]"), toy_desk, tmp_path / "transf", silent)
    command = ["eval", str(trained), str(tmp_path / "transf"), "--cache", str(four), "--out", str(tmp_path / "out")]
    assert main(command) == 3
    assert "its head reads 8 frames" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_templates_are_another_row_and_a_run_keeps_its_own(
    small_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(stage: str, done: int, total: int, note: str = "", /) -> None:
        if stage == "training" and done:
            raise KeyboardInterrupt

    monkeypatch.setattr("plfeat.flows.train.SAVE_EVERY", 0.0)
    store = Path(shutil.copytree(small_desk.store.path, tmp_path / "cache"))
    (tmp_path / "own.txt").write_text("a {}\nbehold, {}\n")
    plain, changed = open_desk(store), open_desk(store, Wanted(templates=tmp_path / "own.txt"))
    config, zero = quick("actionclip-conv1d", QUICK, "seeds=[0]"), train_config("zero-shot-ensemble")
    before = train_frozen(config, plain, tmp_path / "before", silent).runs[0]
    with pytest.raises(KeyboardInterrupt):
        train_frozen(config, plain, tmp_path / "half", stop)
    after = train_frozen(config, changed, tmp_path / "after", silent).runs[0]
    assert before.method == "actionclip-conv1d, optim.epochs=2"
    assert after.method.startswith("actionclip-conv1d, optim.epochs=2, templates @")
    assert np.abs(before.scores_NC - after.scores_NC).max() > 1e-3
    with pytest.raises(UsageError, match="is of another training"):
        train_frozen(config, changed, tmp_path / "before", silent, resume=True)
    with pytest.raises(UsageError, match="other settings or another cache"):
        train_frozen(config, changed, tmp_path / "half", silent, resume=True)
    assert "templates @" in train_frozen(zero, changed, tmp_path / "zero", silent).runs[0].method
    command = ["eval", str(tmp_path / "before"), str(tmp_path / "after"), "--cache", str(store), "--views", "1"]
    assert main([*command, "--out", str(tmp_path / "out"), "-q"]) == 0
    for name, run in (("before", before), ("after", after)):
        again = load_run(tmp_path / "out" / f"{name}-seed-0")
        assert again.method == run.method
        np.testing.assert_allclose(again.scores_NC, run.scores_NC, atol=1e-3)  # cached texts are half precision


def test_a_run_is_read_with_the_scale_it_had_and_without_settings_that_came_later(
    toy_desk: Desk, tmp_path: Path
) -> None:
    """CoOp's scale does not learn, so no tensor holds it: the header does."""
    run = train_frozen(quick("coop", QUICK, "seeds=[0]"), toy_desk, tmp_path / "coop", silent).runs[0]
    folder = tmp_path / "coop" / "seed-0"
    assert "log_scale_E" not in _tensors(folder)
    again = evaluate(folder, toy_desk, tmp_path / "again")
    np.testing.assert_allclose(again.scores_NC, run.scores_NC, atol=1e-6)

    was = []

    def older(about: dict, _: object) -> None:
        was.append(about["start_scale"])
        about["start_scale"] = 0.0
        del about["config"]["head"]["dropout"]

    _edited(folder, older)
    flat = evaluate(folder, toy_desk, tmp_path / "flat").scores_NC  # probabilities of cosines times 1
    expected = run.scores_NC ** np.exp(-was[0])
    np.testing.assert_allclose(flat, expected / expected.sum(axis=1, keepdims=True), rtol=1e-3)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["train", "--frozen", "--device", "foo"], 2, "--device foo: expected cpu, cuda or cuda:N"),
        (["train", "--frozen", "--preset", "zero-shot", "--device", "meta"], 2, "expected cpu"),
        (["train", "--frozen", "--preset", "nearest-mean", "--track", "tensorboard"], 2, "has no curve"),
        (["train", "--frozen", "--device", "cuda:31"], 2, "CUDA devices here"),
        (["bench", "train", "--set", "head.kind=lstm"], 2, "another step than the plain trainer's"),
        (["bench", "train", "--set", "method=linear"], 2, "another step than the plain trainer's"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_done(
    command: list[str], code: int, said: str, toy_desk: Desk, tmp_path: Path, capfd
) -> None:
    place = [] if command[0] == "bench" else ["--cache", str(toy_desk.store.path), "--out", str(tmp_path / "out")]
    assert main([*command, *place]) == code
    err = capfd.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_texts_are_those_of_their_name(toy_desk: Desk, tmp_path: Path, capfd) -> None:
    store = Path(shutil.copytree(toy_desk.store.path, tmp_path / "store"))
    (own,) = (store / "text").glob("[!t]*.h5")
    other = TextSide(open_store(store)).texts(toy_desk.words[::-1], toy_desk.templates)
    shutil.copy(store / "text" / other.name, own)
    command = ["train", "--frozen", "--preset", "zero-shot-ensemble", "--cache", str(store)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 4
    assert "its sha256 is not the one that manifest.json tells of" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
