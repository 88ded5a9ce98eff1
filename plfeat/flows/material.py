"""What all methods are built on: a desk's text side, and the shape of what is read."""

from plfeat.desk import Desk
from plfeat.records import FrameSet
from plfeat.train.build import Material


def material_of(desk: Desk, frames: FrameSet) -> Material:
    """What can be built on before anything is trained."""
    _, _, length, width = frames.features_NVTD.shape
    return Material(desk.text, desk.words, desk.templates, length, width)
