"""How far work is: stages that only begin and end."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from plfeat.records import Tick

LOADING, MODEL = "loading torch", "loading the model"
LOOKING, READING = "looking at a few", "reading features"


@contextmanager
def stage(tick: Tick, name: str) -> Iterator[None]:
    """Work that cannot say how far it is."""
    tick(name, 0, 1)
    yield
    tick(name, 1, 1)


def load_torch(tick: Tick) -> None:
    """Takes seconds, and on a busy machine many: everything that can be wrong without it is looked at before."""
    if "open_clip" not in sys.modules:
        with stage(tick, LOADING):
            import open_clip  # noqa: F401  (and with it torch)
