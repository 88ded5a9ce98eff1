"""What a video is known by: what its file holds."""

import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from plfeat.shards.room import KEY
from plfeat.video.digest import digest, digests, key

PART = 64 << 10


def rubbish(size: int, seed: int = 0) -> bytes:
    return hashlib.shake_256(bytes([seed])).digest(size)


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 3 * PART, 1_000_003])
def test_a_digest_is_the_sha256_of_size_and_three_parts(tmp_path: Path, size: int) -> None:
    (tmp_path / "a.mp4").write_bytes(content := rubbish(size))
    middle, last = max(0, (size - PART) // 2), max(0, size - PART)
    parts = content[:PART] + content[middle : middle + PART] + content[last:][:PART]
    assert digest(tmp_path / "a.mp4") == hashlib.sha256(f"{size}\n".encode() + parts).hexdigest()[:32]


def test_moved_renamed_and_with_another_time_it_is_the_same_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(rubbish(300_000))
    (tmp_path / "elsewhere").mkdir()
    shutil.copyfile(tmp_path / "a.mp4", tmp_path / "elsewhere" / "b.avi")
    os.utime(tmp_path / "elsewhere" / "b.avi", (0, 0))
    assert digest(tmp_path / "a.mp4") == digest(tmp_path / "elsewhere" / "b.avi")


@pytest.mark.parametrize("at", [0, 150_000, 299_999])
def test_another_byte_at_the_beginning_the_middle_or_the_end_is_another_video(tmp_path: Path, at: int) -> None:
    (tmp_path / "a.mp4").write_bytes(content := rubbish(300_000))
    (tmp_path / "b.mp4").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    assert digest(tmp_path / "a.mp4") != digest(tmp_path / "b.mp4")


def test_many_are_read_in_order_and_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.mp4" for number in range(50)]
    for number, path in enumerate(paths):
        path.write_bytes(rubbish(100, number))
    paths[3:3] = [tmp_path / "none.mp4", tmp_path]
    found = list(digests(paths))
    assert found == [digest(path) if path.is_file() else None for path in paths]
    assert found[3:5] == [None, None]


def test_a_file_costs_about_a_millisecond_whatever_its_length(tmp_path: Path) -> None:
    with (tmp_path / "a.mp4").open("wb") as file:
        file.truncate(1 << 30)
    started = time.perf_counter()
    digest(tmp_path / "a.mp4")
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(None, None, ""), (0.0, None, "#t=0,"), (1.5, 2.0, "#t=1.5,2"), (0.1, 1e-05, "#t=0.1,1e-05"), (3, 4, "#t=3,4")],
)
def test_a_segment_has_its_seconds_in_its_key(start: float | None, end: float | None, expected: str) -> None:
    video = "0123456789abcdef" * 2
    assert key(video, start, end) == video + expected
    assert KEY.fullmatch(video + expected)
