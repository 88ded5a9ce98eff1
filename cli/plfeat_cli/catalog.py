"""The commands about what there is: datasets and models."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from plfeat.errors import DataError, UsageError
from plfeat_cli import options, output
from plfeat_cli.options import AsJson, DataRoot, Quiet

datasets = typer.Typer(help="What can be extracted.")
models = typer.Typer(help="What it can be extracted with.")


@datasets.command("ls")
def list_datasets(as_json: AsJson = False) -> None:
    """The datasets that --dataset knows."""
    from plfeat.flows import catalog

    names = catalog.datasets()
    output.result(names) if as_json else print("\n".join(names))


@datasets.command("check")
def check_dataset(
    name: Annotated[str, typer.Argument(help="A dataset's name.")],
    path: Annotated[
        Path | None, typer.Argument(help="The dataset's folder; for csv, also the file. Default: DATA/NAME.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="The dataset's folder, as PATH.")] = None,
    data: DataRoot = options.DATA,
    lists: options.Lists = None,
    names: options.Names = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """What of a dataset is there: found, missing and unexpected videos, against its lists and its published counts."""
    from plfeat.flows import catalog

    if path is not None and root is not None and path != root:
        raise UsageError(f"the dataset's folder is {path}, but --root says {root}; give one")
    with output.progress(quiet) as tick:
        found = catalog.check_dataset(name, path or root or data / name, lists, names, tick)
    if as_json:
        output.result(asdict(found))
    else:
        output.table(catalog.check_table(found))
        for line in catalog.check_remarks(found):
            output.say(line, quiet)
    if found.missing or found.empty:
        raise DataError(
            f"{name}: {len(found.missing)} videos are missing and {len(found.empty)} are empty files; "
            "--json names them all"
        )


@datasets.command("make")
def make_dataset(
    name: Annotated[str, typer.Argument(help="toy")],
    out: Annotated[Path | None, typer.Option(help="Where the videos go. Default: DATA/NAME.")] = None,
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
        output.tell(f"{entry['model']}: {', '.join(entry['pretrained']) or '(no weights listed)'}", under=4)
