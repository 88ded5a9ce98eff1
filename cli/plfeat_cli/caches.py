"""The commands about caches: what they are, whether they are sound, merging, throwing away."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from plfeat.errors import CacheError
from plfeat_cli import options, output
from plfeat_cli.options import AsJson, CacheAt, CacheRoot, Quiet

cache = typer.Typer(help="What has been extracted.")

_ALIKE = 0.999
"""Cosine that a feature made again must reach: another batch or machine changes the last bits, not more."""


@cache.command("ls")
def list_stores(root: CacheRoot = options.CACHE, as_json: AsJson = False) -> None:
    """The stores under a folder: encoder, takes, lists, videos, size, date."""
    from plfeat.flows.caches import LS, stores

    found = stores(root)
    if as_json:
        output.result(found)
    elif found:
        output.table([list(LS), *([str(entry[key]) for key in LS] for entry in found)])
        for entry in found:
            if entry["why"]:
                output.say(entry["why"])
    else:
        output.say(f"no finished store under {root}")


@cache.command("info")
def describe_store(
    path: Annotated[Path | None, typer.Argument(help="A store, or the folder that holds it. Default: --cache.")] = None,
    at: CacheAt = options.CACHE,
    as_json: AsJson = False,
) -> None:
    """How the features of a store were made, of which videos, and which lists lie over them."""
    from plfeat.flows.caches import describe, in_words
    from plfeat.flows.desks import choose_store

    about = describe(choose_store(path or at))
    if as_json:
        output.result(about)
        return
    lines = in_words(about)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        output.tell(f"{name.ljust(width)}  {value}", under=width + 2)


@cache.command("verify")
def verify_cache(
    path: Annotated[Path | None, typer.Argument(help="A store, or the folder that holds it. Default: --cache.")] = None,
    at: CacheAt = options.CACHE,
    live: Annotated[int, typer.Option(help="Decode and encode so many videos again, and compare.", min=0)] = 0,
    repair: Annotated[bool, typer.Option("--repair", help="Make what is damaged again.")] = False,
    root: Annotated[Path | None, typer.Option(help="The videos, if they have moved since.")] = None,
    weights: Annotated[Path | None, typer.Option(help="The weights file, if it has moved since.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read every byte of a store and say what is wrong with it. Exit code 4 if anything is."""
    from plfeat.flows.desks import find_one
    from plfeat.flows.verify import verify
    from plfeat.means import Means

    with output.progress(quiet) as tick:
        verdict = verify(find_one(path or at), live, repair, root, weights, tick, Means())
    if as_json:
        output.result(asdict(verdict))
    else:
        for problem in verdict.problems or [f"{verdict.path}: sound"]:
            output.tell(output.one_line(problem))
    for remark in verdict.remarks:
        output.say(remark, quiet)
    if verdict.problems and not verdict.repaired:
        count = len(verdict.problems)
        what = "one thing is" if count == 1 else f"{count} things are"
        raise CacheError(f"{what} wrong with {verdict.path}; --repair makes it again")
    if verdict.repaired:
        output.say("all of that was made again", quiet)
    if verdict.live:
        found = verdict.live
        output.say(
            f"{found.videos} videos made again: worst cosine {found.worst_cosine:.7f}, largest difference "
            f"{found.worst_difference:.2e} standard deviations, {found.failed} failed",
            quiet,
        )
        if found.failed or found.worst_cosine < _ALIKE:
            raise CacheError(
                f"{verdict.path}: made again, the features of {found.worst_video} are others "
                f"(worst cosine {found.worst_cosine:.5f}, {found.failed} of {found.videos} failed)"
            )


@cache.command("merge")
def merge_caches(
    parts: Annotated[list[Path], typer.Argument(help="Stores of one recipe, finished or not.")],
    root: CacheRoot = options.CACHE,
    pool: Annotated[str | None, typer.Option(help="The pool of what they become. Default: that of the parts.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make one store of several of one recipe: what each of them has, into one that may be there already."""
    from plfeat.flows.upkeep import merge

    with output.progress(quiet) as tick:
        merged, lacking = merge(parts, options.new_folder(root), pool, tick)
    path, shards = merged.store.path, len(merged.store.manifest["shards"])
    videos, failed = (sum(entry[of] for entry in merged.store.manifest["shards"]) for of in ("videos", "failed"))
    if as_json:
        said = {"copied": merged.shards, "shards": shards, "videos": videos, "failed": failed}
        output.result({"path": path, "complete": not lacking, "lacking": lacking, "said": merged.said} | said)
    else:
        output.tell(str(path))
    for line in (*merged.said, *lacking):
        output.say(line, quiet)
    output.say(f"{merged.shards} shards copied, {shards} in all, with {videos} videos of which {failed} failed", quiet)
    if lacking:
        raise CacheError(f"store {path}: {lacking[0]}; merge the part that has them, or extract again")


@cache.command("gc")
def collect_garbage(
    root: CacheRoot = options.CACHE,
    days: Annotated[float, typer.Option(help="Unfinished stores are waste after so many days.", min=0)] = 7.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would go.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Throw away what killed runs left behind, and shards that others have made superfluous."""
    from plfeat.flows.upkeep import collect

    found = collect(root, days, yes)
    if as_json:
        output.result([asdict(item) for item in found])
        return
    gone = [item for item in found if not item.kept]
    for item in found:
        output.tell(output.one_line(f"{item.path}  " + ("" if item.kept else f"{item.bytes} bytes  ") + item.why))
    done = "thrown away" if yes else "would go; say --yes to throw it away"
    output.say(f"{sum(item.bytes for item in gone):,} bytes {done}" if gone else "nothing to throw away", quiet)
