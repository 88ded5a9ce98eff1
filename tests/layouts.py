"""What the tests of datasets share: imitations of layouts on disk."""

from pathlib import Path

from plfeat.records import Dataset


def plant(root: Path, *videos: str) -> Path:
    """Write files of one byte under `root`, which is returned."""
    for name in videos:
        write(root / name, "x")
    return root


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def listed(dataset: Dataset) -> list[tuple[str, str, str]]:
    """Split, id and class of every video."""
    return [(video.split, video.id, dataset.classes[video.label]) for video in dataset.videos]


def paths(dataset: Dataset, root: Path) -> dict[str, str]:
    """Where every id lies under `root`."""
    return {video.id: video.path.relative_to(root).as_posix() for video in dataset.videos}
