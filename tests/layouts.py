"""What the tests of datasets share: imitations of layouts on disk."""

from pathlib import Path

from plfeat.records import SPLITS, VideoList


def plant(root: Path, *videos: str) -> Path:
    """Write files of one byte under `root`, which is returned."""
    for name in videos:
        write(root / name, "x")
    return root


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def listed(videos: VideoList, fold: int = 1) -> list[tuple[str, str, str]]:
    """Split, name and words of every video of a fold, split after split."""
    return [
        (split, row.name, videos.words[row.label] if row.label >= 0 else "")
        for split in SPLITS
        for row in videos.of(split, fold)
    ]


def paths(videos: VideoList, root: Path) -> dict[str, str]:
    """Where every name lies under `root`."""
    return {row.name: row.path.relative_to(root).as_posix() for row in videos.rows if row.path}
