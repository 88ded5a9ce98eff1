"""The command that makes caches."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plfeat.errors import UsageError
from plfeat_cli import options, output
from plfeat_cli.options import AsJson, CacheRoot, ConfigFile, DataRoot, Pretrained, Quiet, Set
from plfeat_cli.words import duration, size

if TYPE_CHECKING:
    from plfeat.flows.extract import Extraction
    from plfeat.means import Means
    from plfeat.flows.probe import Estimate

# What each option sets in the configuration; the help is shown grouped in panels.
_WHAT, _FRAMES, _HOW = "What to extract", "Which frames", "How"


def extract(
    dataset: Annotated[
        str, typer.Option(help="A dataset's name; `plfeat datasets ls` lists them.", rich_help_panel=_WHAT)
    ],
    root: Annotated[
        Path | None,
        typer.Option(help="The dataset's folder. Default: $PLFEAT_DATA/NAME, else data/NAME.", rich_help_panel=_WHAT),
    ] = None,
    data: DataRoot = options.DATA,
    lists: options.Lists = None,
    fold: options.Fold = None,
    names: options.Names = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="An open_clip model, hf-hub:ORG/REPO, local-dir:PATH, or toy. Default: ViT-B-16; toy for toy.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    pretrained: Pretrained = None,
    weights: Annotated[
        Path | None, typer.Option(help="A weights file, instead of a tag.", rich_help_panel=_WHAT)
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(help="What those weights were trained with: gelu or quick_gelu.", rich_help_panel=_WHAT),
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            help="On what pictures those weights were trained: as a tag of that model, or MODEL:TAG.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(help="Keep besides: pre, the features before the projection.", rich_help_panel=_WHAT),
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(help="patch: keep every patch. Terabytes; asks for --yes.", rich_help_panel=_WHAT)
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="Frames of a view, one a segment. Default: 8.", rich_help_panel=_FRAMES)
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(help="Views of a training video; several are random. Default: 1.", rich_help_panel=_FRAMES),
    ] = None,
    test_views: Annotated[
        int | None, typer.Option(help="Views of any other video. Default: 1.", rich_help_panel=_FRAMES)
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(help="Change training views: flip, rand (RandAugment) or rand+flip.", rich_help_panel=_FRAMES),
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Dense: so many frames a second.", rich_help_panel=_FRAMES)] = None,
    every: Annotated[int | None, typer.Option(help="Dense: every n-th frame.", rich_help_panel=_FRAMES)] = None,
    decoder: Annotated[str | None, typer.Option(help="decord or pyav.", rich_help_panel=_HOW)] = None,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="What one decoder cannot read, try with the other.", rich_help_panel=_HOW)
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:N. Default: a GPU if there is one.", rich_help_panel=_HOW)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Decoding processes. Default: one a core.", min=1, rich_help_panel=_HOW)
    ] = None,
    limit: Annotated[
        float, typer.Option(help="Seconds after which a stuck decoder is killed.", min=0.1, rich_help_panel=_HOW)
    ] = 60.0,
    part: Annotated[
        str | None,
        typer.Option(help="i/n: make every n-th shard only, or `auto` under torchrun and SLURM.", rich_help_panel=_HOW),
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Make shards again in which videos failed.", rich_help_panel=_HOW)
    ] = False,
    engine: Annotated[
        str, typer.Option(help="local, or ray: one task a shard on a Ray cluster.", rich_help_panel=_HOW)
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="The Ray cluster, auto to find it. Default: this machine.", rich_help_panel=_HOW)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take, and do nothing.", rich_help_panel=_HOW)
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="I know how large it gets.", rich_help_panel=_HOW)] = False,
    templates: Annotated[
        Path | None,
        typer.Option(help="Sentences for text.h5, one a line, {} for the class name.", rich_help_panel=_WHAT),
    ] = None,
    cache: CacheRoot = options.CACHE,
    sets: Set = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Cache the frozen frame features of every video. Run it again to continue."""
    from plfeat.presets import extract_config

    if engine not in ("local", "ray"):
        raise UsageError(f"--engine {engine}: expected local or ray")
    if address is not None and engine != "ray":
        raise UsageError(f"--address {address}: only --engine ray has a cluster")
    if tokens not in (None, "patch"):
        raise UsageError(f"--tokens {tokens}: only patch is known")
    chosen = {
        "dataset": dataset,
        "lists": lists,
        "fold": fold,
        "names": names,
        "model": model,
        "pretrained": pretrained,
        "weights": weights,
        "activation": activation,
        "preprocess.like": preprocess,
        "also": [*(also or ()), *([tokens] if tokens else ())] or None,
        "sample.frames": frames,
        "sample.views": views,
        "sample.test_views": test_views,
        "sample.fps": fps,
        "sample.every": every,
        "augment": augment,
        "decoder": decoder,
        "fallback": fallback or None,
        "device": device,
    }
    given = {key: value for key, value in chosen.items() if value is not None}
    settings = extract_config(config, sets or (), given)
    kind, _, seed = (settings.pretrained or "").partition(":")
    if kind == "random" and seed.isdecimal():  # any other is a mistake, of which nothing else is said
        output.say("random weights: these features mean nothing", quiet)
    from plfeat.flows.extract import extract as run
    from plfeat.flows.given import check_model, list_videos, read_templates
    from plfeat.means import Means, parse_part
    from plfeat.progress import load_torch

    means = Means(
        workers=workers or Means().workers,
        limit=limit,
        part=parse_part(part),
        retry=retry,
        engine=engine,
        address=address,
        templates=read_templates(templates) if templates else None,
    )
    place = root or data / dataset
    if dry_run or ("patch" in settings.also and not yes):
        check_model(settings)
        with output.progress(quiet) as tick:
            listed = list_videos(settings, place, tick)
            load_torch(tick)
            from plfeat.flows.probe import estimate
            from plfeat.flows.work import equip

            found = estimate(equip(settings, listed, tick), means, tick)
        if not dry_run:
            raise UsageError(
                f"every patch of {found.frames:,} frames is {size(found.bytes)}; say --yes if that is what you want"
            )
        output.result(asdict(found)) if as_json else print(_in_words(found))
        return
    with output.progress(quiet) as tick:
        done = run(settings, place, options.new_folder(cache), tick, means)
    if as_json:
        said = asdict(done)
        output.result(said | said.pop("tally") | {"complete": done.tally.complete})
        return
    _summarise(done, means, quiet)
    print(done.path)


def _summarise(done: "Extraction", means: "Means", quiet: bool) -> None:
    tally = done.tally
    output.say(
        f"{tally.videos - tally.failed} of {tally.videos} videos in {tally.shards} shards "
        f"({done.reused} were there), {done.seconds:.0f} s",
        quiet,
    )
    if tally.reasons:
        output.say(
            f"{tally.failed} failed ({tally.missing} of them missing), {tally.doubtful} kept in doubt; "
            f"each is in {done.path / 'ledger.jsonl'}:",
            quiet,
        )
        for reason, count in list(tally.reasons.items())[:10]:
            output.say(f"  {count:6}  {reason}", quiet)
        if len(tally.reasons) > 10:
            output.say(f"  and {len(tally.reasons) - 10} more reasons", quiet)
    if not tally.complete:
        output.say(
            f"{tally.expected - tally.shards} of {tally.expected} shards are not there yet: "
            f"this was part {means.part[0]} of {means.part[1]}",
            quiet,
        )


def _in_words(found: "Estimate") -> str:
    unreadable = f", {found.unreadable} of {found.looked_at} looked at are unreadable" if found.unreadable else ""
    return "\n".join(
        [
            f"videos   {found.videos:,} ({found.missing:,} missing{unreadable})",
            f"frames   {found.frames:,}",
            f"disk     {size(found.bytes)}",
            f"time     {duration(found.seconds)}: decode {found.decode_videos:.0f} videos/s, "
            f"encode {found.encode_frames:.0f} frames/s, limit: {found.limit} (measured on {found.looked_at} videos)",
        ]
    )
