"""The files of the toy CLIP, as they come with this package: `--model toy` names them. No weights are loaded here."""

from pathlib import Path

from plfeat.backbone.names import ship

CONFIG = Path(__file__).parent / "toy.json"
WEIGHTS = Path(__file__).parent / "toy.safetensors"
TAG = "sprites"


def offer() -> None:
    """Make `--model toy` known."""
    ship(CONFIG, TAG, WEIGHTS)
