"""Records that say list, fold and features, and the tables that are made of them."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plfeat.errors import DataError
from plfeat.flows.report import report, summarise
from plfeat.metrics.compare import metrics_of
from plfeat.records import Run
from plfeat.report.runs import load_run, save_run
from plfeat.report.table import cells


def _recipe(model: str = "ViT-B-16", weights: str = "openai", **other: Any) -> dict[str, Any]:
    encoder = {"model": model, "image_sha256": f"{model} {weights}", "activation": "quick_gelu"}
    same = {"encoder": encoder, "preprocess": {"size": [224, 224]}, "decoder": "pyav", "dtype": "float16"}
    return same | {"compute": "float32", "source": {"pretrained": weights}} | other


def _run(method: str = "prompts", fold: int = 1, seed: int = 0, folds: int = 3, skill: float = 0, **about: Any) -> Run:
    draw = np.random.default_rng(100 * fold + 10 * seed + len(method))
    videos = 20 + 10 * fold
    label_N = np.arange(videos) % 4
    said = {
        "dataset": "mine",
        "list": "mine@0a1b2c3d",
        "fold": fold,
        "folds": folds,
        "fingerprint": "f" * 16,
        "recipe": _recipe(),
        "takes": {"train": ["centre-8"], "test": ["centre-8"]},
        "rows_sha256": f"of fold {fold}",
        "missing": 1,
        "config": {"method": method, "data": {"frames": 8, "views": 1}},
    }
    return Run(
        method=method,
        seed=seed,
        scores_NC=draw.random((videos, 4), dtype=np.float32) + np.float32(skill) * np.eye(4, dtype=np.float32)[label_N],
        label_N=label_N,
        id_N=tuple(f"clip {i}" for i in range(videos)),
        classes=tuple("abcd"),
        stratum=("look", "look", "order", "order"),
        mirror=(None, None, 3, 2),
        group_N=tuple(f"film {i // 5}" if i < 25 else "" for i in range(videos)),
        about=said | about,
    )


def _keep(runs: list[Run], out: Path) -> Path:
    for number, run in enumerate(runs):
        save_run(run, metrics_of(run), out / str(number) / f"fold-{run.about['fold']}" / f"seed-{run.seed}")
    return out


def _methods(*runs: Run) -> list[str]:
    return [row.method for row in summarise(list(runs)).rows]


def test_groups_and_strata_come_back_as_they_were(tmp_path: Path) -> None:
    for name, run in (("with", _run()), ("without", replace(_run(), group_N=()))):
        save_run(run, metrics_of(run), tmp_path / name)
        found = load_run(tmp_path / name)
        assert (found.group_N, found.stratum, found.about) == (run.group_N, run.stratum, run.about)
        record = json.loads((tmp_path / name / "record.json").read_text())
        assert record["stratum"] == ["look", "look", "order", "order"]
        assert record["metrics"]["strata"].keys() == {"look", "order"}
        assert "group" not in record


@pytest.mark.parametrize(
    "group",
    [
        np.array(["a"] * 3),
        np.full(30, np.nan),
        np.array([b"a"] * 30),
        np.array([["a"]] * 30),
        np.array(["a\x1b[31m"] * 30),
        np.arange(30),
    ],
)
def test_groups_that_are_none_are_a_damaged_record(group: np.ndarray, tmp_path: Path) -> None:
    run = _run()
    save_run(run, {}, tmp_path)
    np.savez(tmp_path / "scores.npz", scores=run.scores_NC, label=run.label_N, id=np.array(run.id_N), group=group)
    with pytest.raises(DataError, match=r"the record or its scores are damaged \(groups\)"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("forged", "said"),
    [
        ({"fold": 0}, "list, fold or takes"),
        ({"fold": 4}, "list, fold or takes"),
        ({"fold": "1"}, "list, fold or takes"),
        ({"fold": True}, "list, fold or takes"),
        ({"list": 7}, "list, fold or takes"),
        ({"list": "mine\x1b[31m@00"}, "list, fold or takes"),
        ({"takes": ["centre-8"]}, "list, fold or takes"),
        ({"takes": {"test": [8]}}, "list, fold or takes"),
        ({"recipe": "ViT"}, "recipe"),
        ({"fingerprint": None}, "recipe"),
        ({"missing": -1}, "missing"),
        ({"stratum": ["a"]}, "strata"),
        ({"stratum": [1, 2, 3, 4]}, "strata"),
    ],
)
def test_a_record_that_cannot_be_is_damaged(forged: dict[str, Any], said: str, tmp_path: Path) -> None:
    save_run(_run(), {}, tmp_path)
    record = json.loads((tmp_path / "record.json").read_text())
    (tmp_path / "record.json").write_text(json.dumps(record | forged))
    with pytest.raises(DataError, match=rf"damaged \({said}\)"):
        load_run(tmp_path)


def test_a_record_of_an_earlier_format_is_said_to_be_one(tmp_path: Path) -> None:
    save_run(_run(), {}, tmp_path)
    record = json.loads((tmp_path / "record.json").read_text())
    record["group"] = record.pop("stratum")
    (tmp_path / "record.json").write_text(json.dumps(record))
    with pytest.raises(
        DataError, match=r"the record is of an earlier format, without list and fold; make it again, or"
    ):
        load_run(tmp_path)


def test_a_method_over_three_folds_is_one_row_in_every_kind_of_table(tmp_path: Path) -> None:
    runs = [_run("prompts", fold, seed, skill=0.5) for fold in (1, 2, 3) for seed in (0, 1)]
    runs += [_run("zero-shot", fold) for fold in (1, 2, 3)]
    done = report([_keep(runs, tmp_path / "runs")], tmp_path / "out", "T", against="zero-shot")
    assert [(row.method, row.seeds, row.n, row.missing) for row in done.rows] == [
        ("zero-shot", 1, 120, 3),
        ("prompts", 2, 120, 3),
    ]
    figures = {
        fold: np.mean([metrics_of(run)["top1"] for run in runs[:6] if run.about["fold"] == fold]) for fold in (1, 2, 3)
    }
    assert done.rows[1].folds == pytest.approx(figures)
    assert done.rows[1].top1 == pytest.approx(np.mean(list(figures.values())))
    header, _, line = done.cells
    assert header[3:9] == ["top-5", "fold 1", "fold 2", "fold 3", "look", "order"]
    assert line[4:7] == [f"{100 * figure:.1f}" for figure in figures.values()]
    page = (tmp_path / "out" / "table.md").read_text()
    assert "n = 120 test videos, of 3 folds together; 3 more have no features" in page
    assert "Every figure is the mean of the folds' figures" in page
    assert "Videos of one of the 5 groups stand together in intervals and p." in page
    assert "mean of the folds' figures" in (tmp_path / "out" / "against.md").read_text()
    lines = list(csv.DictReader(io.StringIO((tmp_path / "out" / "table.csv").read_text())))
    assert [float(lines[1][f"fold_{fold}"]) for fold in (1, 2, 3)] == pytest.approx(list(figures.values()), abs=1e-6)
    assert json.loads(json.dumps(done.as_dicts()))[1]["folds"].keys() == {"1", "2", "3"}


def test_one_fold_has_no_column_and_says_where_it_is_one_of_several() -> None:
    alone, one = summarise([_run(folds=1)]), summarise([_run(fold=2)])
    for done in (alone, one):
        assert not any(name.startswith("fold") for name in cells(done.rows)[0])
    assert "n = 30 test videos; 1 more" in alone.footnotes[0]
    assert "n = 40 test videos of fold 2 alone; 1 more" in one.footnotes[0]


def test_a_seed_that_is_not_whole_is_left_out_and_the_table_says_so() -> None:
    """As where one training has diverged."""
    runs = [_run(fold=fold, seed=seed) for fold in (1, 2, 3) for seed in (0, 1) if (fold, seed) != (2, 1)]
    done = summarise([*runs, *(_run("zero-shot", fold) for fold in (1, 2, 3))])
    assert [row.seeds for row in done.rows] == [1, 1]
    assert "prompts: seed 1 is left out, it has no run on fold 2." in done.footnotes
    with pytest.raises(DataError, match="seed 0 lacks fold 2, seed 1 lacks fold 1; run what is missing"):
        summarise([_run(fold=1, seed=0), _run(fold=2, seed=1)])


def test_copies_on_one_fold_count_once_and_the_same_seed_on_another_is_another_run() -> None:
    assert summarise([_run(fold=1), _run(fold=1), _run(fold=2), _run(fold=3)]).rows[0].n == 120
    other = replace(_run(fold=2), scores_NC=_run(fold=2, seed=7).scores_NC)
    with pytest.raises(DataError, match="two runs are 'prompts' with seed 0 on fold 2, but differ; report one"):
        summarise([_run(fold=2), other])
    fewer = _run(fold=1)
    kept = {key: getattr(fewer, key)[:-1] for key in ("scores_NC", "label_N", "id_N", "group_N")}
    newer = replace(fewer, about=fewer.about | {"list": "mine@ffffffff"}, **kept)
    with pytest.raises(DataError, match="30 of mine@0a1b2c3d and 29 of mine@ffffffff"):
        summarise([fewer, newer])


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        (_recipe(), _recipe("ViT-L-14"), ("ViT-B-16", "ViT-L-14")),
        (_recipe(), _recipe(weights="laion2b"), ("openai", "laion2b")),
        (_recipe(), _recipe(weights="/far/away/my.pt"), ("openai", "my.pt")),
        (_recipe(), _recipe(dtype="float32"), ("dtype=float16", "dtype=float32")),
        (_recipe(), _recipe(preprocess={"size": [336, 336]}), ("size=[224, 224]", "size=[336, 336]")),
    ],
)
def test_rows_over_several_features_say_what_differs(
    one: dict[str, Any], other: dict[str, Any], names: tuple[str, str]
) -> None:
    runs = [_run(recipe=recipe, fingerprint=str(key) * 16) for key, recipe in enumerate((one, other))]
    assert _methods(*runs) == [f"prompts, {name}" for name in names]


def test_three_kinds_of_features_are_told_apart_by_as_much_as_it_takes() -> None:
    recipes = _recipe(), _recipe(weights="laion2b"), _recipe("ViT-L-14")
    runs = [_run(recipe=recipe, fingerprint=str(key) * 16) for key, recipe in enumerate(recipes)]
    assert _methods(*runs) == ["prompts, ViT-B-16, openai", "prompts, ViT-B-16, laion2b", "prompts, ViT-L-14, openai"]


@pytest.mark.parametrize("recipe", [{}, _recipe(), {"encoder": 7}, _recipe("evil\x1b[31m")])
def test_features_that_nothing_readable_tells_apart_go_by_their_fingerprint(recipe: dict[str, Any]) -> None:
    runs = [_run(fingerprint="a" * 16), _run(fingerprint="b" * 16, recipe=recipe)]
    assert _methods(*runs) == ["prompts @aaaaaa", "prompts @bbbbbb"]


def test_rows_over_other_frames_and_views_say_how_many() -> None:
    centre, views = {"train": ["centre-8"], "test": ["centre-8"]}, [f"random-8-seed0-view{i}" for i in range(4)]
    more = {"train": ["centre-16"], "test": ["centre-16"]}
    read = {"method": "prompts", "data": {"frames": 16, "views": 1}}
    assert _methods(_run(takes=centre), _run(takes=more, config=read)) == ["prompts, 8 frames", "prompts, 16 frames"]
    many = {"train": views, "test": views[:2]}
    assert _methods(_run(takes=centre), _run(takes=many)) == [
        "prompts, 8 frames",
        "prompts, 8 frames, 4 views, 2 test views",
    ]
    names = _methods(_run(takes=centre), _run(takes={"train": views[:1], "test": ["centre-8"]}))
    assert [name[:-6] for name in names] == ["prompts, 8 frames @"] * 2
    assert len(set(names)) == 2


def test_other_settings_still_have_rows_of_their_own() -> None:
    names = _methods(_run(), _run(config={"method": "prompts", "data": {"frames": 8, "views": 1}, "rate": 1}))
    assert all(name.startswith("prompts, settings @") for name in names)
    assert len(set(names)) == 2


def test_lists_of_two_names_never_share_a_row_nor_a_table_over_other_videos() -> None:
    """The same test videos may be asked about after training on others: the rows say which list."""
    other = _run(list="theirs@0a1b2c3d")
    assert _methods(_run(), other) == ["prompts, mine", "prompts, theirs"]
    with pytest.raises(DataError, match=r"mine@0a1b2c3d, .*theirs@0a1b2c3d, .*different test videos"):
        summarise([_run(), _run(list="theirs@0a1b2c3d", rows_sha256="others")])


def test_the_command_makes_one_row_of_all_folds(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from plfeat_cli.main import main

    runs = [_run(fold=fold, seed=seed) for fold in (1, 2, 3) for seed in (0, 1) if (fold, seed) != (3, 1)]
    command = ["report", str(_keep(runs, tmp_path / "runs")), "--out", str(tmp_path / "out")]
    assert main([*command, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [(row["method"], row["seeds"], len(row["folds"])) for row in found["rows"]] == [("prompts", 1, 3)]
    assert found["remarks"][0] == "prompts: seed 1 is left out, it has no run on fold 3."
    assert main(command) == 0
    said = capfd.readouterr()
    assert "fold 3" in said.out
    assert "seed 1 is left out" in said.err
