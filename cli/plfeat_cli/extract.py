"""The command that fills stores. What only sets a key of the configuration is a line in a table."""

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plfeat.errors import UsageError
from plfeat_cli import options, output
from plfeat_cli.options import AsJson, CacheRoot, ConfigFile, DataRoot, Quiet, Set
from plfeat_cli.words import duration, size

if TYPE_CHECKING:
    from plfeat.flows.extract import Estimate, Extraction
    from plfeat.means import Means

_WHAT, _FRAMES, _HOW = "What to extract", "Which frames", "How"


@dataclass(frozen=True)
class _Setting:
    """An option, and the key that it sets."""

    option: str
    key: str
    kind: Any
    panel: str
    help: str

    @property
    def parameter(self) -> inspect.Parameter:
        about = typer.Option(f"--{self.option}", help=self.help, rich_help_panel=self.panel)
        kind: Any = Annotated[self.kind | None, about]
        name = self.option.replace("-", "_")
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


_SETTINGS = (
    _Setting("lists", "lists", Path, _WHAT, "Where the annotation files lie; for csv, the file. Default: the root."),
    _Setting("names", "names", Path, _WHAT, "A CSV file class,name with your own words for classes."),
    _Setting("name", "name", str, _WHAT, "What the list is called. Default: as the dataset, the folder or the file."),
    _Setting("pool", "pool", str, _WHAT, "Whose videos these are among. Default: the pool that knows most of them."),
    _Setting("split", "split", str, _WHAT, "Divide the videos, such as 70/10/20: training, validation, test."),
    _Setting("folds", "folds", int, _WHAT, "Divide the videos into so many folds."),
    _Setting("model", "model", str, _WHAT, "Of open_clip, hf-hub:ORG/REPO, local-dir:PATH, or toy. Default: ViT-B-16."),
    _Setting("pretrained", "pretrained", str, _WHAT, "A weights tag of open_clip, a file, or random:SEED."),
    _Setting("weights", "weights", Path, _WHAT, "A weights file, instead of a tag."),
    _Setting("activation", "activation", str, _WHAT, "What they were trained with: gelu or quick_gelu."),
    _Setting("preprocess", "preprocess.like", str, _WHAT, "On what pictures they were trained: TAG or MODEL:TAG."),
    _Setting("also", "also", list[str], _WHAT, "Keep besides: pre, the features before the projection."),
    _Setting("frames", "sample.frames", int, _FRAMES, "Frames of a view, one a segment. Default: 8."),
    _Setting("views", "sample.views", int, _FRAMES, "Random views of training videos, besides the centre."),
    _Setting("test-views", "sample.test_views", int, _FRAMES, "The same of the other videos."),
    _Setting("augment", "augment", str, _FRAMES, "Change training views: flip, rand (RandAugment) or rand+flip."),
    _Setting("fps", "sample.fps", float, _FRAMES, "Dense, besides: so many frames a second."),
    _Setting("every", "sample.every", int, _FRAMES, "Dense, besides: every n-th frame."),
    _Setting("decoder", "decoder", str, _HOW, "decord or pyav."),
    _Setting("fallback", "fallback", bool, _HOW, "What one decoder cannot read, try with the other."),
    _Setting("device", "device", str, _HOW, "cpu, cuda or cuda:N. Default: a GPU if there is one."),
)  # fmt: skip


def _settable(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with an option for each setting; it gets those that were said, by their keys, as `given`."""
    own = inspect.signature(command).parameters
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, p in own.items() if name != "given"]
    parameters[2:2] = [setting.parameter for setting in _SETTINGS]
    keys = {setting.parameter.name: setting.key for setting in _SETTINGS}

    @wraps(command)
    def with_settings(**said: Any) -> None:
        given = {key: said.pop(name) for name, key in keys.items()}
        command(given={key: value for key, value in given.items() if value is not None}, **said)

    with_settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_settings.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_settings


@_settable
def extract(
    dataset: Annotated[
        str, typer.Option(help="A dataset's name; `plfeat datasets ls` lists them.", rich_help_panel=_WHAT)
    ],
    given: dict[str, Any],
    root: Annotated[
        Path | None,
        typer.Option(help="The dataset's folder. Default: $PLFEAT_DATA/NAME, else data/NAME.", rich_help_panel=_WHAT),
    ] = None,
    data: DataRoot = options.DATA,
    tokens: Annotated[
        str | None, typer.Option(help="patch: keep every patch. Terabytes; asks for --yes.", rich_help_panel=_WHAT)
    ] = None,
    no_tower: Annotated[
        bool, typer.Option("--no-tower", help="Do not keep the text tower in the store.", rich_help_panel=_WHAT)
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Decoding processes. Default: one a core.", min=1, rich_help_panel=_HOW)
    ] = None,
    limit: Annotated[
        float, typer.Option(help="Seconds after which a stuck decoder is killed.", min=0.1, rich_help_panel=_HOW)
    ] = 60.0,
    part: Annotated[
        str | None,
        typer.Option(help="i/n: make every n-th chunk only, or `auto` under torchrun and SLURM.", rich_help_panel=_HOW),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what failed before.", rich_help_panel=_HOW)] = False,
    engine: Annotated[
        str, typer.Option(help="local, or ray: one task a chunk on a Ray cluster.", rich_help_panel=_HOW)
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="The Ray cluster, auto to find it. Default: this machine.", rich_help_panel=_HOW)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take, and do nothing.", rich_help_panel=_HOW)
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="I know how large it gets.", rich_help_panel=_HOW)] = False,
    cache: CacheRoot = options.CACHE,
    sets: Set = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Store the frozen frame features of every video. What is there is not made again."""
    from plfeat.presets import extract_config

    if engine not in ("local", "ray"):
        raise UsageError(f"--engine {engine}: expected local or ray")
    if address is not None and engine != "ray":
        raise UsageError(f"--address {address}: only --engine ray has a cluster")
    if tokens not in (None, "patch"):
        raise UsageError(f"--tokens {tokens}: only patch is known")
    if tokens:
        given["also"] = [*given.get("also", ()), tokens]
    if no_tower:
        given["tower"] = False
    settings = extract_config(config, sets or (), {"dataset": dataset} | given)
    kind, _, seed = (settings.pretrained or "").partition(":")
    if kind == "random" and seed.isdecimal():  # any other is a mistake, of which nothing else is said
        output.say("random weights: these features mean nothing", quiet)
    from plfeat.flows.extract import estimate
    from plfeat.flows.extract import extract as run
    from plfeat.means import Means, parse_part

    means = Means(
        workers=workers or Means().workers,
        limit=limit,
        part=parse_part(part),
        retry=retry,
        engine=engine,
        address=address,
    )
    place = root or data / dataset

    def tell(remark: str) -> None:
        output.say(remark, quiet)

    if dry_run or ("patch" in settings.also and not yes):
        with output.progress(quiet) as tick:
            found = estimate(settings, place, cache, tick, means, tell)
        if not dry_run and found.lacking:
            raise UsageError(
                f"every patch of {found.frames:,} frames is {size(found.bytes)}; say --yes if that is what you want"
            )
        if dry_run:
            output.result(asdict(found)) if as_json else print(_in_words(found))
            return
    with output.progress(quiet) as tick:
        done = run(settings, place, options.new_folder(cache), tick, means, tell)
    if as_json:
        output.result(done.as_dict())
        return
    _summarise(done, means, quiet)
    print(done.path)


def _summarise(done: "Extraction", means: "Means", quiet: bool) -> None:
    output.say(
        f"{done.videos} videos, {done.decoded} decoded, {done.reused} reused, {done.failed} failed "
        f"(list {done.list}), {done.seconds:.0f} s",
        quiet,
    )
    if done.reasons:
        output.say(
            f"{done.failed} failed ({done.missing} of them missing), {done.doubtful} kept in doubt; "
            f"each is in {done.path / 'ledger.jsonl'}:",
            quiet,
        )
        for reason, count in list(done.reasons.items())[:10]:
            output.say(f"  {count:6}  {reason}", quiet)
        if len(done.reasons) > 10:
            output.say(f"  and {len(done.reasons) - 10} more reasons", quiet)
    if not done.complete:
        part = f": this was part {means.part[0]} of {means.part[1]}" if means.part[1] > 1 else ""
        output.say(f"{done.unmade} of {done.videos} videos are not there yet{part}", quiet)


def _in_words(found: "Estimate") -> str:
    unreadable = f", {found.unreadable} of {found.looked_at} looked at are unreadable" if found.unreadable else ""
    lines = [
        f"videos   {found.videos:,} ({found.missing:,} missing{unreadable}), {found.lacking:,} to be decoded",
        f"frames   {found.frames:,}",
        f"disk     {size(found.bytes)}",
    ]
    if found.lacking:
        lines.append(
            f"time     {duration(found.seconds)}: decode {found.decode_videos:.0f} videos/s, "
            f"encode {found.encode_frames:.0f} frames/s, limit: {found.limit} (measured on {found.looked_at} videos)"
        )
    return "\n".join(lines)
