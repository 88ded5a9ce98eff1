"""Desks in, trained and tested runs out: shards → batches → model → loss → metrics → run records."""

import csv
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from plfeat.backbone.vision import choose_device
from plfeat.config import LEARNED, TEXTLESS, TrainConfig
from plfeat.desk import Desk
from plfeat.device import enough_memory
from plfeat.errors import DataError, PlfeatError, UsageError
from plfeat.files import claimed, sha256_of_json, write_text
from plfeat.flows.classical import classical
from plfeat.flows.fitting import as_read, fitted, material_of
from plfeat.flows.record import about_run, check_place, keep_run, method_at, numerics, place_of, recorded, run_of
from plfeat.flows.results import open_run
from plfeat.flows.splits import Splits, read, splits
from plfeat.progress import READING, stage
from plfeat.records import FrameSet, Run, Tick
from plfeat.report.runs import RECORD
from plfeat.train.build import Material, build_learner, build_tip, resident, tip_keys
from plfeat.train.checkpoint import load_state, member_tensors, save_member, save_state
from plfeat.train.fleet import Epoch, Fleet, Learner, Samples, precision, trainable
from plfeat.train.journal import Journal
from plfeat.train.member import forget_member, read_member

STATE = "unfinished.safetensors"
SAVE_EVERY = 20.0  # seconds between two states of an unfinished training


@dataclass(frozen=True)
class Trained:
    """What came of a training: a run for every fold and seed that stayed finite."""

    runs: list[Run]
    diverged: dict[tuple[int, int], int] = field(default_factory=dict)  # fold, seed: when its loss was no number
    missing: tuple[int, int] = (0, 0)  # training videos without features, and all training videos, of the first fold

    @property
    def remarks(self) -> list[str]:
        """What the records say besides, each once."""
        return list(dict.fromkeys(remark for run in self.runs for remark in run.about.get("remarks", ())))


def train_frozen(
    config: TrainConfig,
    desk: Desk | Sequence[Desk],
    out: Path,
    tick: Tick,
    *,
    resume: bool = False,
    device: str | None = None,
    track: str | None = None,
) -> Trained:
    """Trains one member per seed on the training videos of a fold and tests it, fold after fold; a folder
    `out/seed-<n>` each, or `out/fold-<k>/seed-<n>` where the list has several folds."""
    chosen, learned = choose_device(device), config.method in LEARNED
    if not learned and track is not None:
        raise UsageError(f"--track {track}: {config.preset} is not trained in epochs; it has no curve")
    found: list[Trained] = []
    with claimed(out):
        for one in [desk] if isinstance(desk, Desk) else desk:
            here, heard = replace(one, data=config.data), _within(tick, one)
            own, place = as_read(config, here), place_of(out, here)
            if learned:
                with enough_memory(_smaller(config)):
                    found.append(_train(_gather(own, here, place, chosen, heard), heard, resume, track))
            else:
                found.append(Trained(classical(own, here, place, heard)))
    trained = Trained(
        [run for one in found for run in one.runs],
        {key: epoch for one in found for key, epoch in one.diverged.items()},
        found[0].missing,
    )
    if not trained.runs:
        raise PlfeatError(f"training diverged ({diverged(trained)}); try lower rates")
    return trained


def _within(tick: Tick, desk: Desk) -> Tick:
    """Where there are several folds, every stage says of which one it is."""
    if desk.videos.folds == 1:
        return tick

    def told(stage: str, done: int, total: int, note: str = "", /) -> None:
        tick(f"fold {desk.fold}: {stage}", done, total, note)

    return told


def _smaller(config: TrainConfig) -> str:
    """What to do where a GPU's memory is too small. A fleet of fewer seeds is the same training of each."""
    batch = f"--set optim.batch={max(2, config.optim.batch // 2)} takes less, in another training"
    if len(config.seeds) == 1 or config.text.tune:
        return batch
    few = config.seeds[: max(1, len(config.seeds) // 2)]
    return f"--set 'seeds=[{','.join(map(str, few))}]', a few seeds at a time, takes less and trains the same; {batch}"


def _train(given: "_Given", tick: Tick, resume: bool, track: str | None) -> Trained:
    config, out = given.config, given.out
    check_place(out, given.method, given.desk, config.seeds, resume, given.made_by, config=config)
    trained = Trained([], missing=(given.seen.train.missing, given.seen.train.missing + len(given.seen.train.label_N)))
    groups = [(seed,) for seed in config.seeds] if config.text.tune else [config.seeds]
    for seeds in groups:  # a tuned tower belongs to one member
        place = out if len(groups) == 1 else out / f"seed-{seeds[0]}"
        state, run = place / STATE, given.name(seeds)
        if resume and (whole := _finished(out, seeds, run)):
            trained.runs.extend(whole)
            continue
        fleet = given.fleet(seeds)
        if resume and state.is_file():
            load_state(fleet, run, state)
        settings = config.model_dump(mode="json", exclude={"seeds"})
        tick("training", fleet.state.epoch, config.optim.epochs)
        with Journal(place, seeds, fleet.state.curve, track, settings) as journal:
            fleet.run(given.val, tick, _after_each(journal, run, state))
        with stage(tick, "testing"):
            _test(given, fleet, run, trained)
        state.unlink(missing_ok=True)
    return trained


@dataclass(frozen=True)
class _Given:
    """Everything that is there before the first step."""

    config: TrainConfig
    desk: Desk
    out: Path
    device: torch.device
    seen: Splits
    test: FrameSet
    material: Material
    remarks: tuple[str, ...]
    started: float

    def samples(self, frames: FrameSet) -> Samples:
        return resident(frames, self.config, self.device)

    @cached_property
    def val(self) -> Samples | None:
        return self.samples(self.seen.val) if self.seen.val else None

    def members(self, seeds: tuple[int, ...]) -> list[TrainConfig]:
        return [self.config.model_copy(update={"seeds": (seed,)}) for seed in seeds]

    def name(self, seeds: tuple[int, ...]) -> str:
        """A hash of all that decides what a fleet becomes, with the precision that unset `optim.compute` leads to."""
        settings = [member.model_dump(mode="json") for member in self.members(seeds)]
        for one in settings:
            one["optim"]["compute"] = self.made_by["compute"]
        rows = self.desk.rows_sha256(self.seen.train)
        return sha256_of_json([self.method, settings, self.desk.identity, rows, self.made_by["device"]])

    @property
    def made_by(self) -> dict[str, str]:
        return numerics(self.device, precision(self.config.optim.compute, self.device))

    @property
    def method(self) -> str:
        return method_at(self.config, self.desk)

    def fleet(self, seeds: tuple[int, ...]) -> Fleet:
        members, train = self.members(seeds), self.samples(self.seen.train)
        chosen_EN = self.seen.chosen_EN[[self.config.seeds.index(seed) for seed in seeds]]
        learner: Learner = (
            build_tip(members, self.material, *tip_keys(train, chosen_EN))
            if self.config.method == "tip-adapter-f"
            else build_learner(members, self.material, self.device)
        )
        return Fleet(learner, members, train, chosen_EN)


def _gather(config: TrainConfig, desk: Desk, out: Path, device: str, tick: Tick) -> _Given:
    started = time.perf_counter()
    with stage(tick, READING):
        seen, test = splits(config, config.seeds, desk, device), read(desk, desk.evaluation, config, device)
    material = material_of(desk, seen.train)
    config, remarks = fitted(config, material, seen.chosen_EN.shape[1])
    remarks = (*seen.remarks, *remarks)
    return _Given(config, desk, out, torch.device(device), seen, test, material, remarks, started)


def _finished(out: Path, seeds: tuple[int, ...], run: str) -> list[Run]:
    """The runs of a training that came to its end before, whole; or none."""
    folders = [out / f"seed-{seed}" for seed in seeds]
    try:
        found = [(read_member(folder)[2], open_run(folder)) for folder in folders]
    except DataError:
        return []
    same = all(about.get("training") == one.about.get("training") == run for about, one in found)
    return [one for _, one in found] if same else []


def _test(given: _Given, fleet: Fleet, name: str, trained: Trained) -> None:
    """Every member that stayed finite, at its chosen epoch: model and record to disk, its run into `trained`. Of one
    that did not, nothing stays: not what an earlier training left in its folder either."""
    last = fleet.choose()
    scores_ENC = fleet.learner.score(given.samples(given.test).features_NVTD).cpu().numpy()
    for member, own in enumerate(fleet.members):
        seed, folder = own.seeds[0], given.out / f"seed-{own.seeds[0]}"
        if member in fleet.state.stopped or not _sound(fleet, last, member, scores_ENC[member]):
            trained.diverged[given.desk.fold, seed] = fleet.state.stopped.get(member, fleet.state.epoch)
            _forget(folder)
            continue
        about = {
            **about_run(given.desk, given.test, given.device),
            "numerics": given.made_by,
            "config": recorded(own, given.desk),
            "training": name,
            "protocol": protocol(fleet, member, given.seen),
            "trained_on": len(fleet.chosen_EN[member]),
            "remarks": given.remarks,
            "seconds": time.perf_counter() - given.started,
            "members": len(fleet.members),
        }
        _keep(given, fleet, name, last, member, folder)
        run = run_of(given.method, seed, scores_ENC[member], given.desk, given.test, about)
        trained.runs.append(keep_run(run, folder, trained=True))


def _sound(fleet: Fleet, last: dict[str, torch.Tensor], member: int, scores_NC: NDArray[np.float32]) -> bool:
    """All that would be kept of a member is numbers, also where no score hears of it."""
    kept = (member_tensors(dict(tensors), member) for tensors in (trainable(fleet.learner), last))
    return bool(np.isfinite(scores_NC).all()) and all(x.isfinite().all() for own in kept for x in own.values())


def _forget(folder: Path) -> None:
    """The record first: what has none is no run."""
    (folder / RECORD).unlink(missing_ok=True)
    forget_member(folder)


def diverged(trained: Trained) -> str:
    several = len({fold for fold, _ in trained.diverged} | {run.about["fold"] for run in trained.runs}) > 1
    return ", ".join(
        (f"fold {fold}, " if several else "") + f"seed {seed} in epoch {epoch}"
        for (fold, seed), epoch in trained.diverged.items()
    )


def protocol(fleet: Fleet, member: int, seen: Splits) -> str:
    """Which epoch was tested, and how it was chosen."""
    config, epochs = fleet.members[member], fleet.optim.epochs
    tip = ", alpha = {:.3g}, beta = {:.3g}".format(*config.tip.unchosen) if config.method == "tip-adapter-f" else ""
    if config.select == "last":
        return f"the last of {epochs} epochs{tip}; nothing was selected"
    return f"epoch {fleet.tested_epoch(member)} of {epochs}{tip}, the earliest best on {seen.where_val}"


def _after_each(journal: Journal, run: str, state: Path) -> Callable[[Fleet], None]:
    """Writes the epoch down, and now and then everything that is needed to go on from here."""
    saved = time.monotonic()

    def after(fleet: Fleet) -> None:
        nonlocal saved
        journal.write(fleet.state.curve[-1])
        if time.monotonic() - saved >= SAVE_EVERY:
            save_state(fleet, run, state)
            saved = time.monotonic()

    return after


def _keep(given: _Given, fleet: Fleet, name: str, last: dict[str, torch.Tensor], member: int, folder: Path) -> None:
    """The model comes before the record, and takes away the record of what lay there before."""
    _forget(folder)
    desk, config = given.desk, fleet.members[member]
    reads = config.method not in TEXTLESS
    about = {
        **desk.facts,
        "raw_classes": desk.videos.classes,
        "words": desk.words,
        "templates": desk.templates if config.text.source == "templates" else (),
        "text_sha256": given.material.tower.sha256 if reads else None,
        "start_scale": given.material.start_scale if reads else 0.0,
        "training": name,
        "numerics": given.made_by,
    }
    if config.method == "tip-adapter-f":
        about["key_label"] = fleet.train.label_N[fleet.chosen_EN[member]].tolist()
    chosen = member_tensors(dict(trainable(fleet.learner)), member)
    other = member_tensors(last, member) if config.select == "best" else None
    save_member(chosen, other, config, desk.words, about, folder)
    write_text(folder / "curve.csv", _curve_csv(fleet.state.curve, member))


def _curve_csv(curve: list[Epoch], member: int) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "loss", "val_top1"])
    for epoch in curve:
        top1 = "" if epoch.val_top1_E is None else f"{epoch.val_top1_E[member]:.6f}"
        writer.writerow([epoch.epoch, f"{epoch.loss_E[member]:.6f}", top1])
    return text.getvalue()
