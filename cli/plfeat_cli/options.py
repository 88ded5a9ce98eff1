"""Options that several commands share. Paths come from the option, then the environment, then the default."""

from pathlib import Path
from typing import Annotated

import typer

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
Pretrained = Annotated[
    str | None, typer.Option("--pretrained", help="A weights tag of open_clip, a file, or random:SEED.")
]

CACHE = Path("cache")
RUNS = Path("runs")
REPORTS = Path("reports")
DATA = Path("data")


def dataset_root(dataset: str, root: Path | None, data: Path | None) -> Path:
    """`--root`, else `$PLFEAT_DATA/<dataset>`, else `data/<dataset>`."""
    return root if root is not None else (data or DATA) / dataset
