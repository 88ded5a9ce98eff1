"""A setting that is accepted changes something, and a row names it just then: presets, and combinations that leave
parts of one idle, times every setting, trained on a few videos."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import extracted

from plfeat.config import TrainConfig
from plfeat.desk import Desk
from plfeat.errors import PlfeatError, UsageError
from plfeat.flows.record import method_of
from plfeat.flows.train import Trained, train_frozen
from plfeat.presets import PRESETS, extract_config, idle_keys, settled, train_config
from plfeat.records import Run, silent
from plfeat.settings import build, known_keys
from plfeat_cli.main import main

Scene = tuple[str, ...]
"""A preset, and what is changed of it before the walk."""

VALUES: dict[str, tuple[str, ...]] = {
    "data.shots": ("1", "2"),
    "data.holdout": ("0.4",),
    "data.allow_empty": ("true",),
    "data.frames": ("8",),
    "data.views": ("1", "2"),
    "data.test_views": ("1", "2"),
    "text.source": ("contexts", "templates"),
    "text.template": ("behold {}",),
    "text.tune": ("true",),
    "text.sentence": ("before", "after"),
    "context.tokens": ("4", "5"),
    "context.sharing": ("class", "shared"),
    "context.position": ("front", "middle"),
    "context.start": ("random", "phrase"),
    "context.phrase": ("a film", "a video of people"),
    "context.spread": ("0.5",),
    "context.learn": ("false", "true"),
    "head.kind": ("mean", "conv1d", "lstm", "transf", "transf_cls", "transf_token"),
    "head.layers": ("2",),
    "head.heads": ("3", "1", "8"),
    "head.dropout": ("0",),
    "interaction.kind": ("none", "own", "pairwise"),
    "interaction.text": ("mean", "sentence"),
    "interaction.steps": ("2",),
    "interaction.hidden": ("8",),
    "interaction.last_relu": ("true", "false"),
    "interaction.released": ("true", "false"),
    "interaction.score": ("video", "joint", "mean"),
    "scale.learn": ("true", "false"),
    "scale.test": ("50", "null"),
    "loss.video_to_text": ("0", "0.5"),
    "loss.text_to_video": ("0", "0.5"),
    "loss.joint": ("0", "0.5"),
    "loss.contrastive": ("0", "0.5"),
    "loss.temperature": ("0.5",),
    "loss.labels": ("softmax", "rows"),
    "loss.pairs": ("all", "sentence"),
    "loss.candidates": ("all", "batch"),
    "optim.rate": ("0.1",),
    "optim.module_rate": ("0.1",),
    "optim.encoder_rate": ("1e-3",),
    "optim.scale_rate": ("0.2", "0.05"),
    "optim.weight_decay": ("5",),
    "optim.beta1": ("0.5",),
    "optim.beta2": ("0.5",),
    "optim.batch": ("3", "8", "9"),
    "optim.epochs": ("1",),
    "optim.warmup_epochs": ("0", "1", "2"),
    "optim.compute": ("bfloat16",),
    "probe.refit": ("true",),
    "tip.alpha": ("0", "1", "3"),
    "tip.beta": ("1", "5.5"),
    "select": ("best",),
}
ELSEWHERE = {"preset", "method", "seeds"}
"""They are what a row is called after, or how many runs it has."""

PURE: tuple[Scene, ...] = (
    ("prompts",),
    ("paper",),
    ("plfeat",),
    ("release",),
    ("vit",),
    ("actionclip-transf-cls",),
    ("tip-adapter",),
    ("tip-adapter-f",),
)
MIXED: tuple[Scene, ...] = (
    ("prompts", "context.tokens=4", "context.learn=false", "head.kind=lstm"),
    ("prompts", "context.learn=false", "head.kind=lstm"),
    ("prompts", "loss.candidates=all", "loss.text_to_video=0"),
    ("paper", "loss.contrastive=0"),
    ("paper", "loss.video_to_text=0", "loss.text_to_video=0"),
    ("paper", "interaction.score=joint"),
    ("release", "interaction.score=joint"),
    ("plfeat", "loss.contrastive=1"),
    ("plfeat", "loss.contrastive=1", "loss.video_to_text=0", "loss.text_to_video=0"),
    ("plfeat", "context.learn=false", "interaction.score=video"),
    ("tip-adapter", "tip.alpha=0"),
    ("tip-adapter", "data.shots=1"),
    ("tip-adapter-f", "tip.alpha=0"),
)
SMALL = {
    "optim.epochs": "2",
    "optim.batch": "4",
    "optim.rate": "0.05",
    "optim.module_rate": "0.01",
    "interaction.hidden": "16",
    "head.layers": "1",
    "seeds": "[0]",
}


def test_the_walk_knows_every_setting() -> None:
    keys = set(known_keys(TrainConfig))
    leaves = {key for key in keys if not any(other.startswith(f"{key}.") for other in keys)}
    assert leaves == VALUES.keys() | ELSEWHERE


@pytest.fixture(scope="module")
def small_desk(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Four classes of the toy world, two training videos each, and of one of them three; each in two views."""
    base = tmp_path_factory.mktemp("small")
    for split in ("train", "test"):
        for name in ("glowing ring", "glowing star", "spinning star", "bouncing ring"):
            shutil.copytree(toy_folder / split / name, base / "videos" / split / name)
    third = next((toy_folder / "test" / "glowing ring").iterdir())
    shutil.copy(third, base / "videos" / "train" / "glowing ring" / "third.mp4")
    views = {"sample.views": 2, "sample.test_views": 2}
    return extracted(base / "videos", base / "cache", **views)


def _train(config: TrainConfig, desk: Desk, out: Path) -> Trained:
    shutil.rmtree(out, ignore_errors=True)
    return train_frozen(config, desk, out, silent)


def _start(scene: Scene) -> tuple[TrainConfig, list[str]]:
    """A scene made small, and all that was said for it."""
    preset, *own = scene
    idle = idle_keys(train_config(preset, overrides=own)) | {override.partition("=")[0] for override in own}
    said = [*own, *(f"{key}={value}" for key, value in SMALL.items() if key not in idle)]
    return train_config(preset, overrides=said), said


def _steps(scene: Scene) -> Iterator[tuple[str, TrainConfig, bool]]:
    """One setting, what the scene becomes with it, and whether that is accepted; of several values all."""
    _, said = _start(scene)
    for key, values in VALUES.items():
        for value in values:
            overrides = [*(override for override in said if override.partition("=")[0] != key), f"{key}={value}"]
            try:
                yield f"{key}={value}", train_config(scene[0], overrides=overrides), True
            except UsageError as error:
                if f"{key} " in str(error).partition("would change nothing")[0]:
                    base = {"preset": scene[0], **PRESETS[scene[0]]}
                    try:
                        yield f"{key}={value}", build(TrainConfig, overrides=overrides, base=base), False
                    except UsageError:
                        continue


def _walk(scene: Scene, desk: Desk, out: Path) -> dict[str, int]:
    """Every accepted setting gives other scores under another name, or the same under the same; what is refused for
    doing nothing does nothing."""
    start, _ = _start(scene)
    first = _train(start, desk, out).runs[0]
    seen = dict.fromkeys(("named", "unnamed", "idle"), 0)
    steps = [step for step in _steps(scene) if step[1] != start]
    once = {(key.partition("=")[0], accepted): key for key, _, accepted in steps}  # one value of each
    for step, config, accepted in steps:
        if step != once[step.partition("=")[0], accepted] or not (accepted or scene in MIXED):
            continue
        try:
            run = _train(config, desk, out).runs[0]
        except PlfeatError:
            continue  # the data say no
        where = f"{scene}, {step}: {run.method}"
        if not accepted:
            np.testing.assert_allclose(run.scores_NC, first.scores_NC, rtol=0, atol=2e-4, err_msg=where)
            seen["idle"] += 1
        elif run.method == first.method:
            assert np.array_equal(run.scores_NC, first.scores_NC), where
            seen["unnamed"] += 1
        else:
            assert not np.array_equal(run.scores_NC, first.scores_NC), where
            seen["named"] += 1
    return seen


def test_of_the_whole_method_every_setting_does_something(small_desk: Desk, tmp_path: Path) -> None:
    seen = _walk(("plfeat",), small_desk, tmp_path / "out")
    assert seen["named"] > 25, seen


@pytest.mark.slow
@pytest.mark.parametrize("scene", PURE + MIXED, ids=", ".join)
def test_what_is_accepted_does_something_and_what_is_refused_does_not(
    scene: Scene, small_desk: Desk, tmp_path: Path
) -> None:
    seen = _walk(scene, small_desk, tmp_path / "out")
    assert seen["named"] > 5 or seen["idle"] > 20, seen


IDLE = [
    (("tip-adapter", "tip.alpha=0"), "tip.beta=2"),
    (("tip-adapter", "tip.alpha=0"), "data.shots=1"),
    (("tip-adapter-f", "tip.alpha=0"), "optim.epochs=3"),
    (("plfeat", "loss.contrastive=0.5", "loss.video_to_text=0", "loss.text_to_video=0"), "loss.joint=2"),
    (("plfeat", "loss.contrastive=0.5", "loss.video_to_text=0", "loss.text_to_video=0"), "loss.labels=softmax"),
    (("plfeat", "loss.contrastive=0.5", "loss.video_to_text=0", "loss.text_to_video=0"), "head.kind=lstm"),
    (("paper", "loss.video_to_text=0", "loss.text_to_video=0"), "loss.candidates=all"),
    (("paper", "loss.contrastive=0"), "interaction.hidden=8"),
    (("paper", "loss.contrastive=0"), "interaction.kind=none"),
    (("paper", "loss.contrastive=0"), "loss.temperature=1"),
    (
        ("release", "interaction.score=joint"),
        "loss.video_to_text=0",
    ),  # the head and a scale learn, and neither is scored
    (("release", "interaction.score=joint"), "loss.labels=rows"),
    (("paper",), "interaction.kind=pairwise"),
    (("prompts",), "interaction.kind=own"),
]


@pytest.mark.parametrize(("given", "idle"), IDLE)
def test_what_a_coefficient_of_0_leaves_idle_is_refused(given: Scene, idle: str) -> None:
    preset, *overrides = given
    train_config(preset, overrides=overrides)
    with pytest.raises(UsageError, match=f"{idle.partition('=')[0]} would change nothing here"):
        train_config(preset, overrides=[*overrides, idle])


def test_every_row_of_the_papers_table_of_coefficients_can_be_trained() -> None:
    for coefficients in ((0, 1, 1), (1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 1), (0, 1, 0)):
        keys = ("loss.contrastive", "loss.video_to_text", "loss.text_to_video")
        config = train_config("paper", overrides=[f"{k}={c}" for k, c in zip(keys, coefficients, strict=True)])
        assert (config.loss.contrastive, config.loss.video_to_text, config.loss.text_to_video) == coefficients
    with pytest.raises(UsageError, match="nothing that is scored would learn"):
        train_config("release", overrides=["loss.video_to_text=0", "loss.text_to_video=0"])


def test_what_could_not_be_left_out_is_not_refused() -> None:
    """Without the module its losses go too; with them the preset's module would have to stay."""
    config = train_config("plfeat", overrides=["interaction.kind=none", "interaction.score=video", "loss.joint=0"])
    assert method_of(config).startswith("plfeat, interaction.kind=none")
    alone = ["interaction.kind=pairwise", "loss.contrastive=1", "context.learn=false"]
    with pytest.raises(UsageError, match=r"interaction\.kind, loss\.contrastive would change nothing here"):
        train_config("prompts", overrides=alone)


def test_a_warm_up_fits_into_half_of_the_epochs_or_is_refused() -> None:
    """It was cut without a word, and the row named what was asked for."""
    with pytest.raises(UsageError, match=r"optim\.warmup_epochs=5 is more than half of optim\.epochs=8; at most 4"):
        train_config(overrides=["optim.epochs=8", "optim.warmup_epochs=5"])
    assert train_config().optim.warmup == 5
    assert train_config(overrides=["optim.epochs=3"]).optim.warmup == 1.5
    for given in (["optim.warmup_epochs=5"], ["optim.epochs=8", "optim.warmup_epochs=4"]):
        assert "warmup" not in method_of(train_config(overrides=given))
    assert "warmup_epochs=3" in method_of(train_config(overrides=["optim.epochs=8", "optim.warmup_epochs=3"]))


def test_a_record_that_says_the_default_warm_up_keeps_its_name() -> None:
    """Records once said 5 whatever the epochs were."""
    old = build(TrainConfig, settings={"preset": "prompts", "optim.epochs": 2, "optim.warmup_epochs": 5})
    assert method_of(old) == "prompts, optim.epochs=2"
    assert settled(old).optim.warmup == old.optim.warmup == 1


def _method(desk: Desk, out: Path, preset: str, *overrides: str) -> Run:
    return _train(train_config(preset, overrides=overrides), desk, out).runs[0]


@pytest.mark.parametrize(
    ("preset", "setting", "same"),
    [
        ("actionclip-transf", "head.heads=1", True),  # 96 wide
        ("actionclip-transf", "head.heads=2", False),
        ("actionclip-transf-cls", "head.heads=8", True),
        ("actionclip-transf-cls", "head.heads=1", False),
        ("tip-adapter-f", "tip.alpha=1", True),
        ("tip-adapter-f", "tip.beta=5.5", True),
        ("tip-adapter-f", "tip.beta=5", False),
        ("prompts", "optim.batch=9", True),  # all the videos there are
        ("prompts", "optim.batch=1000", True),
        ("prompts", "optim.batch=8", False),
        ("coop", "scale.test=30.9273", True),  # what the toy model's own is
        ("coop", "scale.test=8", False),
        ("prompts", "optim.scale_rate=0.002", True),
    ],
)
def test_what_is_set_to_what_it_would_be_anyway_is_no_other_row(
    preset: str, setting: str, same: bool, small_desk: Desk, tmp_path: Path
) -> None:
    more = [f"{key}={SMALL[key]}" for key in ("optim.epochs", "head.layers", "seeds")]
    more = more if "transf" in preset else more[::2]
    plain, named = _method(small_desk, tmp_path, preset, *more), _method(small_desk, tmp_path, preset, *more, setting)
    assert (plain.method == named.method) == same
    assert np.array_equal(plain.scores_NC, named.scores_NC) == same
    assert (plain.about["config"] == named.about["config"]) == same


def test_where_nothing_can_be_chosen_the_usual_numbers_are_no_other_row(small_desk: Desk, tmp_path: Path) -> None:
    """One video a class leaves none to choose on."""
    few = ("tip-adapter", "data.shots=1", "seeds=[0]")
    assert _method(small_desk, tmp_path, *few, "tip.alpha=1", "tip.beta=5.5").method == "tip-adapter, data.shots=1"
    assert _method(small_desk, tmp_path, *few, "tip.alpha=2").method.endswith("tip.alpha=2.0")
    assert _method(small_desk, tmp_path, "tip-adapter", "tip.alpha=1").method == "tip-adapter, tip.alpha=1.0"


def test_what_a_setting_comes_to_is_said(small_desk: Desk, tmp_path: Path) -> None:
    """A larger batch than there are videos is all of them, as it would be; a shorter warm-up, and heads as they
    would be anyway."""
    run = _method(small_desk, tmp_path, "release", "optim.epochs=4", "optim.batch=1000", "head.heads=1", "seeds=[0]")
    assert run.method == "release, optim.epochs=4"
    assert run.about["remarks"] == (
        "optim.batch=1000: a batch is all of the 9 training videos",
        "the warm-up takes 2 of 4 epochs",
        "head.heads=1 is what it would be anyway; no row names it",
    )
    longer = ("optim.epochs=10", "head.layers=1", "seeds=[0]")
    assert _method(small_desk, tmp_path, "release", *longer).about["remarks"] == ()


@pytest.mark.parametrize(
    ("preset", "settings", "said"),
    [
        ("prompts", ("data.shots=4",), "has more than 3 training videos; at most that, or leave it out"),
        ("linear-probe", ("data.shots=9",), "has more than 3 training videos"),
        ("tip-adapter", ("data.shots=3", "data.holdout=0.3"), "has more than 2 training videos"),
        ("release", ("context.spread=0.1",), "context.spread: context.phrase fills all 4 contexts, nothing is drawn"),
        ("release", ("context.sharing=class",), "they are the same for every class"),
        ("prompts", ("context.tokens=4", "context.spread=0.1"), "nothing is drawn at random"),
    ],
)
def test_what_these_videos_make_idle_is_refused_before_anything_is_written(
    preset: str, settings: Scene, said: str, small_desk: Desk, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        _train(train_config(preset, overrides=settings), small_desk, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_classes_with_fewer_videos_than_shots_give_what_they_have_and_that_is_said(
    small_desk: Desk, tmp_path: Path, toy_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As few-shot papers do. Where none has fewer there is nothing to say."""
    films = {name: sorted((toy_folder / "test" / name).iterdir()) for name in ("glowing ring", "spinning star")}
    for name, split, few in (
        ("glowing ring", "train", slice(3)),
        ("spinning star", "train", slice(1)),
        ("glowing ring", "test", slice(2)),
        ("spinning star", "test", slice(2)),
    ):
        (tmp_path / "videos" / split / name).mkdir(parents=True)
        for film in films[name][few]:
            shutil.copy(film, tmp_path / "videos" / split / name)
    desk = extracted(tmp_path / "videos", tmp_path / "cache")
    said = "data.shots=2: 1 of 2 classes have fewer training videos and give all of them, "
    said += "the first is 'spinning star' with 1"
    command = [
        "train",
        "--frozen",
        "--preset",
        "nearest-mean",
        "--set",
        "data.shots=2",
        "--cache",
        str(desk.store.path),
    ]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert said in capfd.readouterr().err
    quick = train_config("prompts", overrides=["data.shots=2", "optim.epochs=1", "seeds=[0]"])
    done = train_frozen(quick, desk, tmp_path / "prompts", silent)
    assert said in done.remarks
    assert done.runs[0].about["trained_on"] == 3
    few_shots = train_config("nearest-mean", overrides=["data.shots=2"])
    assert train_frozen(few_shots, small_desk, tmp_path / "few", silent).remarks == []


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        ({"sample.frames": 8, "sample.fps": 2.0}, "sample.frames"),
        ({"sample.frames": 8, "sample.every": 4}, "sample.frames"),
        ({"sample.cap": 100}, "sample.cap"),
        ({"sample.seed": 3}, "sample.seed"),
        ({"sample.seed": 0, "sample.fps": 2.0}, "sample.seed"),
        ({"lists": "lists", "dataset": "folder"}, "lists"),
    ],
)
def test_an_extraction_refuses_what_it_would_ignore(settings: dict[str, object], idle: str) -> None:
    """Said at all, even as it is by default: `--frames 8 --fps 2` does not take eight frames."""
    with pytest.raises(UsageError, match=f"config: {idle} would change nothing here; leave it out"):
        extract_config(settings={"dataset": "csv", **settings})


def test_what_an_extraction_looks_at_is_accepted() -> None:
    for settings in (
        {"sample.frames": 8, "sample.seed": 3, "sample.test_views": 2},
        {"sample.seed": 3, "sample.views": 2, "augment": "rand"},
        {"sample.cap": 100, "sample.every": 2},
        {"lists": "lists"},
    ):
        extract_config(settings={"dataset": "csv", **settings})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--frames", "8", "--fps", "2"], "sample.frames would change nothing here"),
        (["--address", "auto"], "only --engine ray has a cluster"),
        (["--views", "2"], "sample.views=2: no video of test has them, all are test videos"),
    ],
)
def test_such_options_are_one_line_and_make_no_cache(
    options: list[str], said: str, toy_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = toy_folder / "test"  # a folder of classes, which is one split called test
    command = ["extract", "--dataset", "folder", "--root", str(root), "--model", "toy", "--cache", str(tmp_path / "c")]
    assert main([*command, *options, "-q"]) == 2
    err = capfd.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "c").exists()
