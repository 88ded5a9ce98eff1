"""Annotations on disk in, `VideoList` out. Opens no video."""

from collections.abc import Callable

from plfeat.datasets.csv_list import read_csv
from plfeat.datasets.few_shot import read_few_shot
from plfeat.datasets.folder import read_folder
from plfeat.datasets.hmdb51 import read_hmdb51
from plfeat.datasets.kinetics import read_k400, read_mini_k200
from plfeat.datasets.place import Place
from plfeat.datasets.ssv2 import read_ssv2
from plfeat.datasets.ucf101 import read_ucf101
from plfeat.records import VideoList
from plfeat.registry import Registry

__all__ = ["READERS", "Place"]

READERS: Registry[Callable[[Place], VideoList]] = Registry(
    "dataset",
    **{
        "folder": read_folder,
        "toy": read_folder,  # an ordinary folder of videos
        "csv": read_csv,
        "k400": read_k400,
        "mini-k200": read_mini_k200,
        "ucf101": read_ucf101,
        "hmdb51": read_hmdb51,
        "ssv2": read_ssv2,
        "few-shot": read_few_shot,
    },
)
"""`READERS[name](Place(name, root, lists))` is the list with all its folds; its rows know no `video` yet."""
