"""What an AVI file says and its demuxer does not: a path in, how many repeats of the last picture out.

AVI has no times. Every chunk is one tick long, and a chunk of no bytes means that the picture before it is shown again.
The header counts such chunks. FFmpeg counts them in the times of the chunks after them, but never returns them; those
at the end of the file can only be found in the file itself.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def repeats_at_end(path: Path, last: int, stream: int) -> int:
    """Chunks of no bytes that follow the picture whose bytes begin at `last`."""
    names = {f"{stream:02d}dc".encode(), f"{stream:02d}db".encode()}
    with path.open("rb") as file:
        file.seek(last - 8)
        return sum(name in names and size == 0 for name, size in _chunks(file))


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and size of every chunk from here to the end of the file; where the bytes are no chunk, the reading stops.
    Lists are entered."""
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if not name.isalnum():
            return
        yield name, size
        file.seek(4 if name in (b"RIFF", b"LIST") else size + size % 2, 1)
