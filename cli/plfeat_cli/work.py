"""The commands that do the work on features: demo, train, eval, report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plfeat.errors import UsageError
from plfeat_cli import options, output
from plfeat_cli.options import AsJson, CacheAt, ConfigFile, Pretrained, Quiet, Set

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
    from plfeat.config import TrainConfig, build

    settings = build(TrainConfig, config, sets or ())
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
        failed=cached.tally.failed,
        seconds=seconds,
    )


def train(
    frozen: Annotated[bool, typer.Option("--frozen", help="Train over cached features, both towers frozen.")] = False,
    cache: CacheAt = options.CACHE,
    out: Annotated[
        Path | None, typer.Option(help="Where the runs go. Default: runs/<dataset>-<hash of the settings>.")
    ] = None,
    pretrained: Pretrained = None,
    sets: Set = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train PromptLearner contexts over a cache, one run per seed, and test them."""
    from plfeat.config import TrainConfig, build

    if not frozen:
        raise UsageError("train: say --frozen to train over cached features; nothing else can be trained yet")
    settings = build(TrainConfig, config, sets or ())
    from plfeat.flows.caches import choose_cache
    from plfeat.flows.report import summarise
    from plfeat.flows.train import METHOD, run_name, train_frozen

    chosen = choose_cache(cache)
    folder = options.new_folder(out, options.RUNS / run_name(METHOD, settings.model_dump(mode="json"), chosen))
    with output.progress(quiet) as tick:
        done = summarise(train_frozen(settings, chosen, folder, tick, pretrained))
    _finish(done, as_json, quiet, runs=folder)


def evaluate(
    zero_shot: Annotated[bool, typer.Option("--zero-shot", help="Score with CLIP's own text features.")] = False,
    template: Annotated[str | None, typer.Option(help="The sentence around a class name, with {} for it.")] = None,
    cache: CacheAt = options.CACHE,
    out: Annotated[
        Path | None, typer.Option(help="Where the run goes. Default: runs/<dataset>-<hash of the settings>.")
    ] = None,
    pretrained: Pretrained = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Test on a cache's test split without training."""
    if not zero_shot:
        raise UsageError("eval: say --zero-shot; trained runs are tested by `plfeat train`")
    from plfeat.flows.caches import choose_cache
    from plfeat.flows.evaluate import TEMPLATE
    from plfeat.flows.evaluate import zero_shot as run
    from plfeat.flows.report import summarise
    from plfeat.flows.train import run_name

    template = TEMPLATE if template is None else template
    chosen = choose_cache(cache)
    folder = options.new_folder(out, options.RUNS / run_name("zero-shot", template, chosen))
    done = summarise(run(chosen, folder, template, pretrained))
    _finish(done, as_json, quiet, runs=folder)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.")],
    out: Annotated[Path, typer.Option(help="Where the table and the figure go.")] = options.REPORTS / "table",
    title: Annotated[str, typer.Option(help="The table's title.")] = "Results",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rebuild the table and the figure from run records. Never trains."""
    from plfeat.flows.report import report as run

    done = run(runs, options.new_folder(out), title)
    _finish(done, as_json, quiet, files=done.files)


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
