"""Whether decoding can start at a packet that its file calls a key: the codec in, a function that looks into its
packets out.

An H.264 or HEVC film may renew its pictures strip by strip, and have no whole picture after the first (intra refresh).
Files call such packets keys too, but a decoder that starts there shows torn pictures, or none for a while. An MP4 in
which no packet is a key calls all of its packets keys.
"""

from collections.abc import Callable, Iterator

Look = Callable[[bytes], bool]


def look(codec: str, header: bytes | None) -> Look | None:
    """The function for a codec. None for codecs whose packets nobody looks into."""
    if codec not in ("h264", "hevc"):
        return None
    starts, at = (_starts_h264, 4) if codec == "h264" else (_starts_hevc, 21)
    # the header says how long the length before each unit is; where it does not begin with 1, marks stand between units
    length = (header[at] & 3) + 1 if header and len(header) > at and header[0] == 1 else 0
    return lambda packet: starts(_units(packet, length))


def _units(packet: bytes, length: int) -> Iterator[bytes]:
    if not length:
        yield from filter(None, packet.split(b"\0\0\1")[1:])
        return
    at = 0
    while at + length < len(packet):
        size = int.from_bytes(packet[at : at + length], "big")
        if size:
            yield packet[at + length : at + length + size]
        at += length + size


def _starts_hevc(units: Iterator[bytes]) -> bool:
    """The first slice belongs to a random access point (types 16 to 23)."""
    slices = (kind for kind in (unit[0] >> 1 & 63 for unit in units) if kind < 32)
    return next(slices, 0) >= 16


def _starts_h264(units: Iterator[bytes]) -> bool:
    """A whole picture (type 5); or a slice after a note (type 6) which says that every picture from here on is
    whole."""
    recovers = False
    for unit in units:
        kind = unit[0] & 31
        if 1 <= kind <= 5:
            return kind == 5 or recovers
        recovers = recovers or (kind == 6 and _recovers_at_once(unit.replace(b"\0\0\3", b"\0\0")))
    return False


def _recovers_at_once(notes: bytes) -> bool:
    """There is a recovery point (note 6) that counts no frames until it: its first bit is set."""
    at = 1
    while at + 2 < len(notes):
        kind, at = _number(notes, at)
        size, at = _number(notes, at)
        if kind == 6:
            return notes[at : at + 1] >= b"\x80"
        at += size
    return False


def _number(notes: bytes, at: int) -> tuple[int, int]:
    """A number as notes write it (bytes of 255, then a rest), and the place where the next thing starts."""
    rest = next((i for i in range(at, len(notes)) if notes[i] != 255), len(notes) - 1)
    return 255 * (rest - at) + notes[rest], rest + 1
