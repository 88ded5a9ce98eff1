"""Annotations on disk in, `Dataset` out. Opens no video."""

from collections.abc import Callable
from pathlib import Path

from plfeat.datasets.folder import read_folder
from plfeat.records import Dataset
from plfeat.registry import Registry

READERS: Registry[Callable[[Path, str], Dataset]] = Registry("dataset", folder=read_folder, toy=read_folder)
"""`READERS[name](root, name)`. The toy dataset is an ordinary folder of videos."""
