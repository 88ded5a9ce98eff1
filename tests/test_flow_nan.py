"""What is no number, and a label that is no class, never becomes a result: refused in one line that says whose, and
nothing is left on disk that another command chokes on."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import quick
from safetensors.torch import load_file, save_file

from plfeat.backbone.load import load
from plfeat.backbone.plan import plan
from plfeat.desk import Desk
from plfeat.errors import CacheError, DataError, PlfeatError
from plfeat.files import sha256_of
from plfeat.flows.desks import open_desk
from plfeat.flows.evaluate import chance
from plfeat.flows.record import keep_run
from plfeat.flows.results import open_run
from plfeat.flows.train import train_frozen
from plfeat.presets import train_config
from plfeat.records import silent
from plfeat.report.runs import load_run
from plfeat.shards.growth import Growth
from plfeat.shards.store import open_store
from plfeat.shards.texts import Texts, read_texts, text_bytes
from plfeat.train.fleet import Fleet
from plfeat_cli.main import main

QUICK = ("optim.epochs=1", "seeds=[0]", "optim.batch=16")


@pytest.fixture(scope="module")
def trained(toy_desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train_frozen(quick("prompts", QUICK), toy_desk, folder, silent)
    return folder / "seed-0"


@pytest.fixture
def cache(toy_desk: Desk, tmp_path: Path) -> Path:
    """A copy to do harm to."""
    return Path(shutil.copytree(toy_desk.store.path, tmp_path / "cache"))


def _forged(trained: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    from safetensors import safe_open

    run = Path(shutil.copytree(trained, folder))
    with safe_open(run / "model.safetensors", framework="pt") as file:
        about = file.metadata()
    tensors = {name: value.clone() for name, value in load_file(run / "model.safetensors").items()}
    change(tensors)
    save_file(tensors, run / "model.safetensors", metadata=about)
    return run


def _refused(command: list[str], code: int, *said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(command) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    for part in said:
        assert part in err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda tensors: tensors["source.prompts.contexts"].fill_(torch.nan),
            "contexts has values that are not numbers",
        ),
        (lambda tensors: tensors["log_scale_E"].fill_(1e4), "1 of 1 videos"),  # a number, whose exponential is none
    ],
)
def test_a_model_of_nans_says_nothing(
    change, said: str, trained: Path, toy_desk: Desk, toy_folder: Path, tmp_path: Path, capfd
) -> None:
    run = _forged(trained, tmp_path / "run", change)
    video = str(next(toy_folder.rglob("*.mp4")))
    _refused(["predict", video, "--run", str(run), "-q"], 3, str(run), said, "train it again", capfd=capfd)
    of_all = "prompts, optim.batch=16, optim.epochs=1 (seed 0): the scores of 72 of 72 videos are no numbers"
    command = ["eval", str(run), "--cache", str(toy_desk.store.path), "--out", str(tmp_path / "out"), "-q"]
    _refused(command, 3, of_all if "videos" in said else said, capfd=capfd)
    assert not (tmp_path / "out").exists()


def _texts_of(store: Path) -> Path:
    (path,) = (store / "text").glob("[!t]*.h5")
    return path


def _with_texts(store: Path, change: Callable[[Texts], Texts]) -> None:
    """As if the extraction had written them."""
    path = _texts_of(store)
    path.write_bytes(text_bytes(change(read_texts(path))))
    manifest = json.loads((store / "manifest.json").read_text())
    (entry,) = (entry for entry in manifest["texts"] if entry["name"] == path.name)
    entry["sha256"] = sha256_of(path)
    (store / "manifest.json").write_text(json.dumps(manifest))


def _poisoned(rows: np.ndarray, value: float = np.nan) -> np.ndarray:
    rows = rows.copy()
    rows[-1, 3] = value
    return rows


@pytest.mark.parametrize("preset", ["zero-shot-ensemble", "tip-adapter", "tip-adapter-f", "actionclip-mean"])
def test_texts_that_are_not_numbers_are_refused_before_anything_is_scored(
    preset: str, cache: Path, toy_folder: Path, tmp_path: Path, capfd
) -> None:
    _with_texts(cache, lambda texts: replace(texts, sentence_ND=_poisoned(texts.sentence_ND)))
    command = ["train", "--frozen", "--preset", preset, "--cache", str(cache), "--out", str(tmp_path / "out"), "-q"]
    _refused(command, 4, ".h5: 1 of 384 texts have values that are not numbers, the first is '", capfd=capfd)
    assert not (tmp_path / "out").exists()


def test_such_texts_are_made_again_once_they_are_gone(cache: Path, tmp_path: Path, capfd) -> None:
    path = _texts_of(cache)
    whole = path.read_bytes()
    for field in ("word_SW", "embedding_SW", "sentence_ND"):
        _with_texts(
            cache, lambda texts, field=field: replace(texts, **{field: _poisoned(getattr(texts, field), np.inf)})
        )
        command = ["train", "--frozen", "--preset", "zero-shot-ensemble", "--cache", str(cache), "-q"]
        _refused([*command, "--out", str(tmp_path / "o")], 4, "remove the file, and it is made again", capfd=capfd)
        path.unlink()
        assert main([*command, "--out", str(tmp_path / "o")]) == 0
        capfd.readouterr()
        assert path.read_bytes() == whole


def test_weights_that_are_not_numbers_are_refused_where_they_are_loaded(tmp_path: Path, toy_backbone) -> None:
    """A text tower of NaNs made a cache that looked whole, and trainings that `diverged`."""
    tensors = {name: value.clone() for name, value in toy_backbone.model.state_dict().items()}
    tensors["text_projection"][0, 0] = torch.nan
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(PlfeatError, match="text_projection has values that are not numbers"):
        load(plan("toy", str(tmp_path / "weights.safetensors"), "quick_gelu"))


@pytest.mark.parametrize("command", ["prompts", "nearest-mean", "eval"])
def test_a_video_without_a_label_is_not_scored(command: str, cache: Path, trained: Path, tmp_path: Path, capfd) -> None:
    """-1, counted from the end, was the last class."""
    store = open_store(cache)
    videos = store.read_list("toy")
    test = videos.of("test")[5]
    rows = tuple(replace(row, label=-1) if row is test else row for row in videos.rows)
    with Growth(cache, store.recipe) as growth:
        growth.put_list(replace(videos, rows=rows), store.lists["toy"].takes)
        growth.finish()
    train = ["train", "--frozen", "--preset", command]
    chosen = ["eval", str(trained)] if command == "eval" else train
    said = f"split 'test': 1 videos have labels outside 0 to 23, the first is {test.name!r} with -1"
    _refused([*chosen, "--cache", str(cache), "--out", str(tmp_path / "out"), "-q"], 4, said, capfd=capfd)
    assert not (tmp_path / "out").exists()
    with pytest.raises(CacheError, match="labels outside"):
        chance(open_desk(cache), (0,), tmp_path / "out")


def test_scores_that_are_not_numbers_are_never_kept(trained: Path, tmp_path: Path) -> None:
    """Whatever says them, and with what was there before untouched."""
    run = load_run(trained)
    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(DataError, match=r"prompts.* \(seed 0\): the scores of 1 of 72 videos are no numbers"):
            keep_run(replace(run, scores_NC=_poisoned(run.scores_NC, value)), folder)
    with pytest.raises(DataError, match="labels: 72 of 72 are outside 0 to 23, the first is -1"):
        keep_run(replace(run, label_N=np.full(72, -1)), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda scores, label, ids: (_poisoned(scores), label, ids), "1 of 72 videos have scores that are not numbers"),
        (
            lambda scores, label, ids: (scores, np.where(label == 3, -1, label), ids),
            "3 of 72 videos have labels beyond",
        ),
        (
            lambda scores, label, ids: (scores, label, np.concatenate([ids[1:], ids[1:2]])),
            "a video that stands there twice",
        ),
        (lambda scores, label, ids: (np.roll(scores, 1, axis=1), label, ids), "they are not of one run"),
        (lambda scores, label, ids: (scores, np.roll(label, 1), ids), "they are not of one run"),
    ],
)
def test_forged_scores_are_refused_by_the_report(change, said: str, trained: Path, tmp_path: Path, capfd) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    with np.load(run / "scores.npz") as arrays:
        scores, label, ids = change(arrays["scores"], arrays["label"], arrays["id"])
    np.savez(run / "scores.npz", scores=scores, label=label, id=ids)
    _refused(
        ["report", str(run), "--out", str(tmp_path / "out"), "-q"], 3, f"run {run}", said, "leave it out", capfd=capfd
    )
    assert not (tmp_path / "out").exists()


def test_a_record_that_says_more_than_its_scores_is_refused(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    record = json.loads((run / "record.json").read_text())
    for better in (0.999, "0.999", None, True):
        record["metrics"]["top1"] = better
        (run / "record.json").write_text(json.dumps(record))
        with pytest.raises(DataError, match=f"its record says top1 = {better}, its scores amount to 0"):
            open_run(run)


def test_an_epoch_whose_validation_scores_are_no_numbers_is_never_the_best(
    toy_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of the first epoch spoils it: its loss was still a number, and 0 % beat nothing at all."""
    step = Fleet.step

    def spoiling(fleet: Fleet, *rest) -> torch.Tensor:
        loss = step(fleet, *rest)
        if fleet.adamw.count == fleet.per_epoch:
            fleet.learner.source.prompts.contexts.data[1, 0, 0, 0] = torch.nan  # type: ignore[attr-defined]
        return loss

    monkeypatch.setattr(Fleet, "step", spoiling)
    config = quick("prompts", ("optim.epochs=2", "select=best", "data.holdout=0.5", "seeds=[0,1]"))
    done = train_frozen(config, toy_desk, tmp_path, silent)
    assert done.diverged == {(1, 1): 1}
    assert [run.seed for run in done.runs] == [0]
    assert not (tmp_path / "seed-1").exists()


def test_of_a_seed_that_diverged_nothing_older_stays_either(
    toy_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would stand beside the new runs, under another name."""
    train_frozen(quick("prompts", QUICK, "seeds=[0,1]"), toy_desk, tmp_path, silent)
    choose = Fleet.choose

    def spoiled(fleet: Fleet) -> dict[str, torch.Tensor]:
        fleet.learner.source.prompts.contexts.data[1] = torch.nan  # type: ignore[attr-defined]
        return choose(fleet)

    monkeypatch.setattr(Fleet, "choose", spoiled)
    done = train_frozen(quick("prompts", QUICK, "seeds=[0,1]", "optim.rate=0.1"), toy_desk, tmp_path, silent)
    assert done.diverged == {(1, 1): 1}
    assert [path.parent.name for path in tmp_path.rglob("record.json")] == ["seed-0"]
    assert not (tmp_path / "seed-1" / "model.safetensors").exists()


def test_an_untold_part_that_is_no_number_is_divergence_too(
    toy_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module that no score hears: the model would be kept, and `eval` refuse it."""
    choose = Fleet.choose

    def spoiled(fleet: Fleet) -> dict[str, torch.Tensor]:
        fleet.learner.interaction.graph.query.weight.data[0, 0, 0] = torch.nan  # type: ignore[attr-defined]
        return choose(fleet)

    monkeypatch.setattr(Fleet, "choose", spoiled)
    with pytest.raises(PlfeatError, match="training diverged"):
        train_frozen(quick("paper", (*QUICK, "interaction.hidden=16")), toy_desk, tmp_path, silent)
    assert not list(tmp_path.rglob("model.safetensors"))


def test_a_table_of_no_numbers_says_whose_they_are(toy_desk: Desk, tmp_path: Path) -> None:
    """A table of what is no number says whose it is, not that two runs differ where there is one."""
    from plfeat.flows.report import summarise

    run = train_frozen(train_config("nearest-mean"), toy_desk, tmp_path, silent).runs[0]
    with pytest.raises(DataError, match=r"nearest-mean \(seed 0\): the scores of 1 of 72 videos"):
        summarise([replace(run, scores_NC=_poisoned(run.scores_NC))])
