"""The commands that list and make things: datasets, models, cache."""

from pathlib import Path
from typing import Annotated

import typer

from plfeat_cli import options, output
from plfeat_cli.options import AsJson, CacheRoot, DataRoot, Quiet

datasets = typer.Typer(help="What can be extracted.")
models = typer.Typer(help="What it can be extracted with.")
cache = typer.Typer(help="What has been extracted.")


@datasets.command("ls")
def list_datasets(as_json: AsJson = False) -> None:
    """The datasets that --dataset knows."""
    from plfeat.flows import catalog

    names = catalog.datasets()
    output.result(names) if as_json else print("\n".join(names))


@datasets.command("make")
def make_dataset(
    name: Annotated[str, typer.Argument(help="toy")],
    out: Annotated[Path | None, typer.Option(help="Where the videos go. [default: DATA/NAME]")] = None,
    data: DataRoot = options.DATA,
    videos: Annotated[int, typer.Option(help="How many, over all classes and splits.")] = 960,
    seed: Annotated[int, typer.Option(help="Other seeds make other videos.", min=0, max=2**63)] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a dataset that can be made: the toy world's videos, as H.264 files."""
    from plfeat.flows import catalog

    folder = options.new_folder(out, data / name)
    with output.progress(quiet) as tick:
        made = catalog.make_dataset(name, folder, videos, seed, tick)
    if not made:
        output.say(f"{folder} already holds these videos", quiet)
    output.result({"path": folder, "videos": videos, "made": made}) if as_json else print(folder)


@models.command("ls")
def list_models(as_json: AsJson = False) -> None:
    """The models that --model knows, and the weights of each that --pretrained knows."""
    from plfeat.flows import catalog

    known = catalog.models()
    if as_json:
        output.result(known)
        return
    for entry in known:
        print(f"{entry['model']}: {', '.join(entry['pretrained']) or '(no weights listed)'}")


@cache.command("ls")
def list_caches(root: CacheRoot = options.CACHE, as_json: AsJson = False) -> None:
    """The finished caches under a folder."""
    from plfeat.flows import catalog

    found = catalog.caches(root)
    if as_json:
        output.result(found)
    elif found:
        output.table([list(found[0]), *([str(value) for value in entry.values()] for entry in found)])
    else:
        output.say(f"no finished cache under {root}")
