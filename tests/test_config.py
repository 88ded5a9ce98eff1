"""Configuration: defaults, file, overrides, and what is said about keys that do not exist."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from plfeat.config import ExtractConfig, TrainConfig
from plfeat.errors import UsageError
from plfeat.presets import train_config
from plfeat.settings import build, known_keys


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("optim: {rate: 0.5, epochs: 3}\nseeds: [4]\n")
    config = build(TrainConfig, file, ["optim.rate=1e-3", "context.sharing=shared"])
    assert (config.optim.rate, config.optim.epochs, config.seeds) == (1e-3, 3, (4,))
    assert config.context.sharing == "shared"
    assert config.optim.batch == TrainConfig().optim.batch


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optim.rat=1", "unknown config key 'optim.rat'; did you mean 'optim.rate'?"),
        ("optm.rate=1", "did you mean 'optim.rate'?"),
        ("optim=3", "config optim:"),
        ("optim.rate=-1", "config optim.rate: Input should be greater than 0, found '-1'"),
        ("optim.epochs=many", "config optim.epochs:"),
        ("optim.rate", "not of the form key=value"),
        ("optim.rate=[1,", "not valid YAML"),
        ("seeds=[]", "config seeds:"),
        ("seeds=[1,1]", "config seeds:"),
    ],
)
def test_a_wrong_override_is_one_clear_line(override: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(TrainConfig, overrides=[override])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["optim: [1", "- a\n- b", "3", "1: 2"])
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"run\.yaml"):
        build(TrainConfig, file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        build(TrainConfig, tmp_path / "none.yaml")


def test_an_empty_file_means_defaults(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("# nothing\n")
    assert build(TrainConfig, file) == TrainConfig()


def test_a_config_cannot_be_changed() -> None:
    config = TrainConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.seeds = (9,)  # type: ignore[misc]


def test_known_keys_reach_into_sections() -> None:
    assert {"sample.frames", "model", "dtype"} <= set(known_keys(ExtractConfig))


IDLE = [
    (("prompts",), "text.template=a {}"),
    (("prompts",), "interaction.hidden=64"),
    (("prompts",), "optim.module_rate=1"),
    (("prompts", "head.kind=lstm"), "head.layers=2"),
    (("plfeat",), "loss.temperature=0.2"),
    (("plfeat", "interaction.text=mean"), "interaction.steps=1"),
    (("coop",), "context.phrase=a"),
    (("actionclip-lstm",), "context.tokens=4"),
    (("actionclip-lstm",), "text.sentence=before"),
    (("vit",), "optim.rate=1"),
    (("vit",), "text.tune=true"),
    (("tip-adapter-f",), "head.kind=lstm"),
    (("tip-adapter",), "optim.epochs=3"),
    (("linear-probe",), "select=best"),
    (("zero-shot",), "data.shots=1"),
    (("release",), "interaction.hidden=16"),
    (("release",), "interaction.kind=pairwise"),
    (("release",), "loss.contrastive=1"),
    (("actionclip-mean",), "optim.module_rate=1"),
    (("actionclip-mean",), "optim.weight_decay=1"),
    (("tip-adapter-f",), "optim.weight_decay=1"),
    (("actionclip-mean",), "optim.epochs=3"),  # only a scale learns, and another is tested with
    (("actionclip-mean",), "data.shots=3"),
    (("actionclip-mean",), "loss.labels=rows"),
    (("actionclip-mean", "data.holdout=0.1", "scale.test=null"), "optim.rate=1"),
    (("actionclip-lstm",), "optim.rate=1"),
    (("release",), "optim.rate=1"),
    (("coop",), "optim.scale_rate=1"),
    (("vit",), "scale.test=50"),
    (("zero-shot",), "scale.learn=false"),
    (("plfeat", "context.learn=false", "interaction.score=video", "scale.test=50"), "interaction.steps=1"),
    (("prompts", "optim.epochs=1", "data.holdout=0.1"), "select=best"),
]


@pytest.mark.parametrize(("given", "idle"), IDLE)
def test_a_setting_that_would_do_nothing_is_refused(given: tuple[str, ...], idle: str) -> None:
    """A table would name it, and two equal rows would look like a comparison."""
    preset, *overrides = given
    train_config(preset, overrides=overrides)
    with pytest.raises(UsageError, match=f"{idle.partition('=')[0]} would change nothing here"):
        train_config(preset, overrides=[*overrides, idle])


def test_what_the_scale_carries_is_heard() -> None:
    """At test, or by what learns beside it."""
    train_config(
        "actionclip-mean", overrides=["scale.test=null", "optim.epochs=3", "optim.scale_rate=1", "data.shots=2"]
    )
    train_config("actionclip-lstm", overrides=["optim.scale_rate=1", "optim.epochs=3"])
    train_config("plfeat", overrides=["context.learn=false", "interaction.score=video", "interaction.steps=1"])


def test_a_training_in_which_nothing_learns_is_refused() -> None:
    with pytest.raises(UsageError, match=r"scale\.learn=false nothing learns"):
        train_config("actionclip-mean", overrides=["scale.learn=false"])


@pytest.mark.parametrize(
    ("preset", "changed"),
    [
        ("release", "interaction.score=joint"),
        ("coop", "text.source=templates"),
        ("zero-shot", "text.source=contexts"),
        ("text-tuned", "head.kind=lstm"),
    ],
)
def test_what_only_the_preset_set_is_nobodys_to_leave_out(preset: str, changed: str) -> None:
    """A change that makes some of it idle stands."""
    more = ("text.template=a {}", "head.kind=lstm") if preset == "coop" else ()
    train_config(preset, overrides=[changed, *more])


def test_the_settings_of_a_training_are_read_as_they_stand(tmp_path: Path) -> None:
    """Also where nobody could set them so today."""
    config = build(TrainConfig, settings={"method": "linear-probe", "select": "best"})
    (tmp_path / "old.yaml").write_text("method: linear-probe\nselect: best\n")
    assert build(TrainConfig, tmp_path / "old.yaml") == config


def test_a_preset_may_be_named_in_one_place_and_is_the_base_then(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("preset: paper\nseeds: [4]\n")
    assert train_config(None, tmp_path / "own.yaml") == train_config("paper", overrides=["seeds=[4]"])
    assert train_config(overrides=["preset=coop"]) == train_config("coop")
    with pytest.raises(UsageError, match="two presets are named, 'paper' and 'plfeat'"):
        train_config("plfeat", tmp_path / "own.yaml")
    with pytest.raises(UsageError, match="unknown preset 'foo'"):
        train_config(overrides=["preset=foo"])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("{}", "{}"),
        ("{} on film", "{} on film"),
        ("clip: {}", "clip: {}"),
        ("a clip #1 of {}", "a clip #1 of {}"),
        ("'{} quoted'", "{} quoted"),
        ("a = {}", "a = {}"),
    ],
)
def test_a_sentence_is_taken_as_it_stands(given: str, meant: str) -> None:
    assert train_config("zero-shot", overrides=[f"text.template={given}"]).text.template == meant


def test_one_video_is_no_batch() -> None:
    with pytest.raises(UsageError, match=r"optim\.batch: Input should be greater than or equal to 2"):
        train_config(overrides=["optim.batch=1"])
