"""The commands that do the work on features: demo, train, eval, report."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plfeat.errors import DataError, PlfeatError, UsageError, unknown
from plfeat_cli import options, output
from plfeat_cli.options import AsJson, CacheAt, ConfigFile, Dataset, Names, OneFold, Pretrained, Quiet, Set, Templates

if TYPE_CHECKING:
    from plfeat.flows.report import Report


def demo(
    videos: Annotated[int, typer.Option(help="How many toy videos to make.")] = 960,
    out: Annotated[Path, typer.Option(help="Where the table and the figure go.")] = options.REPORTS / "demo",
    work: Annotated[Path, typer.Option(help="Where the videos and the runs go.")] = options.RUNS / "demo",
    cache: Annotated[Path | None, typer.Option(help="Where the features go. Default: WORK/cache.")] = None,
    sets: Set = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """From nothing to a results table, without a network: toy videos, features, trained prompts, statistics."""
    from plfeat.presets import train_config

    settings = train_config(None, config, sets or ())
    from plfeat.flows.demo import demo as run

    with output.progress(quiet) as tick:
        work, out, features = (options.new_folder(place) for place in (work, out, cache or work / "cache"))
        done = run(work, out, features, videos, settings, tick)
    seconds = {stage: round(spent, 2) for stage, spent in done.seconds.items()}
    cached = done.extraction
    _finish(
        done.report,
        as_json,
        quiet,
        files=done.report.files,
        cache=cached.path,
        failed=cached.failed,
        seconds=seconds,
    )


def train(
    frozen: Annotated[bool, typer.Option("--frozen", help="Train over cached features, both towers frozen.")] = False,
    preset: Annotated[
        str | None, typer.Option(help="Which method, by name; --list-presets lists them. Default: prompts.")
    ] = None,
    cache: CacheAt = options.CACHE,
    dataset: Dataset = None,
    fold: OneFold = None,
    split: Annotated[
        str | None, typer.Option(help="Divide the list's videos into train, val and test, such as 70/10/20.")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Divide them into so many folds.", min=2)] = None,
    names: Names = None,
    templates: Templates = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the runs go. Default: runs/<list>-<hash of the settings>.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed training was.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: a GPU if there is one.")] = None,
    track: Annotated[str | None, typer.Option(help="Draw curves with tensorboard or wandb.")] = None,
    pretrained: Pretrained = None,
    sets: Set = None,
    config: ConfigFile = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings and stop.")] = False,
    list_presets: Annotated[bool, typer.Option("--list-presets", help="Print the presets and stop.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train PromptLearner, its relatives or a baseline over a list's features, one run per fold and seed; test them."""
    from plfeat.presets import train_config

    if list_presets:
        _print_presets(as_json, quiet)
        return
    settings = train_config(preset, config, sets or ())
    tree = settings.model_dump(mode="json")
    if print_config:
        _print_config(tree, as_json)
        return
    if not frozen:
        raise UsageError("train: say --frozen to train over cached features; nothing else can be trained yet")
    if track not in (None, "tensorboard", "wandb"):
        raise unknown("tracker", track, ("tensorboard", "wandb"))
    from plfeat.flows.desks import Wanted, folds_of, open_desk
    from plfeat.flows.report import summarise
    from plfeat.flows.results import run_name
    from plfeat.progress import load_torch

    wanted = Wanted(dataset, names, templates, split, folds, pretrained)
    with output.progress(quiet) as tick:
        desk = open_desk(cache, wanted, settings.data, tick)
        desks = folds_of(desk, fold)
        folder = options.new_folder(out, options.RUNS / run_name(tree, desk))
        load_torch(tick)
        from plfeat.flows.train import diverged, train_frozen

        done = train_frozen(settings, desks, folder, tick, resume=resume, device=device, track=track)
    _finish(summarise(done.runs), as_json, quiet, runs=folder)
    if done.missing[0]:
        output.say("{} of {} training videos have no features".format(*done.missing), quiet)
    for remark in done.remarks:
        output.say(remark, quiet)
    if done.diverged:
        raise PlfeatError(
            f"{len(done.runs)} runs are whole, but training diverged for {diverged(done)}; try lower rates"
        )


def evaluate(
    runs: Annotated[list[Path] | None, typer.Argument(help="Folders of trained runs.")] = None,
    zero_shot: Annotated[bool, typer.Option("--zero-shot", help="Score with CLIP's own text features.")] = False,
    template: Annotated[str | None, typer.Option(help="The sentence around a class name, with {} for it.")] = None,
    split: Annotated[str | None, typer.Option(help="Of the list. Default: test, or val where there is none.")] = None,
    views: Annotated[
        int | None, typer.Option(help="Only so many of a video's views; 1 is the centre. Default: all.", min=1)
    ] = None,
    cache: CacheAt = options.CACHE,
    dataset: Dataset = None,
    fold: Annotated[
        int | None, typer.Option(min=1, help="Default: a run's own fold of its list, and every fold of another list.")
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(help="A CSV file class,name with your own words for classes; for --zero-shot any names."),
    ] = None,
    templates: Templates = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the runs go. Default: runs/<list>-<hash of the settings>.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: a GPU if there is one.")] = None,
    pretrained: Pretrained = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Test trained runs again, on any split or over another list; or CLIP itself, untrained, with any names."""
    if bool(runs) == zero_shot:
        raise UsageError("eval: give folders of trained runs, or say --zero-shot")
    if not zero_shot and (template is not None or templates is not None):
        said = "--template is" if templates is None else "--templates is"
        raise UsageError(f"eval: {said} for --zero-shot; a trained run has its own texts")
    if zero_shot and (split is not None or views is not None):
        raise UsageError("eval: --split and --views are for trained runs")
    if template is not None and templates is not None:
        raise UsageError("eval: --template and --templates both say in which sentences names stand; choose one")
    from plfeat.flows.desks import Wanted, can_be_scored, folds_of, open_desk
    from plfeat.flows.report import summarise
    from plfeat.flows.results import run_name
    from plfeat.flows.trained import fitting_runs
    from plfeat.presets import train_config
    from plfeat.progress import load_torch

    own = {} if template is None else {"text.template": template}
    settings = train_config("zero-shot" if templates is None else "zero-shot-ensemble", settings=own)
    wanted = Wanted(dataset, names, templates, pretrained=pretrained, any_names=zero_shot)
    with output.progress(quiet) as tick:
        desk = open_desk(cache, wanted, tick=tick)
        desks = folds_of(desk, fold)
        if runs:
            about: Any = [[str(run) for run in runs], split, views, fold]
            folder = options.new_folder(out, options.RUNS / run_name(about, desk))
            fitting_runs(runs, desk)
        else:
            folder = options.new_folder(out, options.RUNS / run_name(settings.model_dump(mode="json"), desk))
        scored = bool(runs) or can_be_scored(desks[0])
        load_torch(tick)
        from plfeat.flows.evaluate import evaluate_all, name_videos
        from plfeat.flows.train import train_frozen

        if runs:
            done = evaluate_all(runs, desk, folder, split, device, views, tick, fold)
        elif scored:
            done = train_frozen(settings, desks, folder, tick).runs
        else:
            named = name_videos(settings, desks[0], folder, tick)
    if scored:
        _finish(summarise(done), as_json, quiet, runs=folder)
        return
    if as_json:
        output.result(asdict(named))
        return
    output.table([["name", "videos"], *([name, str(number)] for name, number in named.counts.items())])
    output.say(f"\n{named.videos} videos, {named.missing} missing; no accuracy: the names are not their classes", quiet)
    output.say(f"predictions: {named.path}", quiet)


def predict(
    videos: Annotated[list[Path], typer.Argument(help="Video files.")],
    run: Annotated[Path, typer.Option("--run", help="A trained run: the folder that holds model.safetensors.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 5,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say which words and frames were looked at, and what contexts resemble.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: a GPU if there is one.")] = None,
    limit: Annotated[float, typer.Option(min=0.1, help="Seconds after which a decoder is killed.")] = 60.0,
    pretrained: Pretrained = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say what happens in videos, with a trained run."""
    from plfeat.flows.trained import able_member
    from plfeat.means import Means
    from plfeat.progress import load_torch

    able_member(run, top, explain)
    if not any(video.is_file() for video in videos):
        raise DataError(f"{videos[0]}: no such file" + (f", nor is any of {len(videos)}" if videos[1:] else ""))
    with output.progress(quiet) as tick:
        load_torch(tick)
        from plfeat.flows.predict import predict as run_on

        found = run_on(
            run, videos, top, tick, Means(limit=limit), explained=explain, pretrained=pretrained, device=device
        )
    failed = [one for one in found if one.error]
    if as_json:
        output.result([one.as_dict() for one in found])
    else:
        rows = [[one.video, *(f"{name} {100 * share:.1f} %" for name, share in one.best)] for one in found if one.best]
        for row in rows:
            output.tell("\t".join(row), under=4)
        for one in found:
            output.explanation(one)
        for one in failed:
            output.say(f"{one.video}: {one.error}", quiet)
    if failed:
        raise DataError(f"{len(failed)} of {len(found)} videos could not be read; {failed[0].video}: {failed[0].error}")


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.")],
    out: Annotated[Path, typer.Option(help="Where the table and the figure go.")] = options.REPORTS / "table",
    title: Annotated[str, typer.Option(help="The table's title.")] = "Results",
    against: Annotated[
        str | None, typer.Option(help="A method: a second table sets every other one against it, by stratum.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rebuild the table and the figure from run records. Never trains."""
    from plfeat.flows.report import report as run

    with output.progress(quiet) as tick:
        done = run(runs, options.new_folder(out), title, against, tick)
    more: dict[str, Any] = {"remarks": done.remarks} if as_json and done.remarks else {}
    more |= {"against": {against: done.contrasts_as_dicts()}} if as_json and against else {}
    _finish(done, as_json, quiet, files=done.files, **more)
    if against is not None and not as_json:
        print(f"\nagainst {against}")
        output.table(done.contrast_cells)


def _print_config(tree: dict[str, Any], as_json: bool) -> None:
    """As a file that --config reads."""
    if as_json:
        output.result(tree)
        return
    import yaml

    print(yaml.safe_dump(tree, sort_keys=False), end="")


def _print_presets(as_json: bool, quiet: bool) -> None:
    from plfeat.flows import catalog

    known = catalog.presets()
    if as_json:
        output.result(known)
        return
    output.table(catalog.presets_table(known), running=[1])
    output.say("\n" + "\n".join(catalog.presets_remarks(known)), quiet)


def _finish(done: "Report", as_json: bool, quiet: bool, **more: Any) -> None:
    """Rows to stdout, as text or one JSON document; whatever else there is to say to stderr, or into the document."""
    if as_json:
        output.result({"rows": done.as_dicts(), **more})
        return
    output.table(done.cells)
    output.say("\n" + "\n".join(done.footnotes), quiet)
    for name, value in more.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        output.say("\n".join(f"{name}: {item}" for item in (text if isinstance(text, list) else [text])), quiet)
