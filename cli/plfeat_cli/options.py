"""Options that several commands share. Paths come from the option, then the environment, then the default."""

from pathlib import Path
from typing import Annotated

import typer

from plfeat.errors import UsageError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no remarks on stderr.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config key, for example optim.rate=1e-3."),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A YAML file of config keys.")]
CacheAt = Annotated[
    Path, typer.Option("--cache", envvar="PLFEAT_CACHE", help="A cache, or the folder that holds caches.")
]
CacheRoot = Annotated[Path, typer.Option("--cache", envvar="PLFEAT_CACHE", help="The folder that holds caches.")]
DataRoot = Annotated[Path, typer.Option("--data", envvar="PLFEAT_DATA", help="The folder that holds datasets.")]
Lists = Annotated[
    Path | None, typer.Option(help="Where the annotation files lie; for csv, the file. Default: the dataset's folder.")
]
Fold = Annotated[int | None, typer.Option(help="Which published split, of ucf101 and hmdb51: 1, 2 or 3. Default: 1.")]
Names = Annotated[Path | None, typer.Option(help="A CSV file class,name with your own words for classes.")]
Dataset = Annotated[
    str | None, typer.Option("--dataset", help="Which list of the store, by name. Default: the only one.")
]
OneFold = Annotated[int | None, typer.Option("--fold", min=1, help="One fold of the list. Default: every one.")]
Templates = Annotated[
    Path | None, typer.Option(help="A file of sentences, one a line, each with {} where a class's name goes.")
]
Pretrained = Annotated[
    str | None, typer.Option("--pretrained", help="A weights tag of open_clip, a file, or random:SEED.")
]

CACHE = Path("cache")
RUNS = Path("runs")
REPORTS = Path("reports")
DATA = Path("data")


def new_folder(wanted: Path | None, default: Path | None = None) -> Path:
    """A folder that can be made: found out before the work that is to be written into it."""
    folder = wanted if wanted is not None else default
    assert folder is not None
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise UsageError(f"{folder} cannot be a folder: {place} is a file")
    return folder.absolute() if folder.name == "" else folder
