"""What PyAV decodes of an open film: all of it, or what the chosen frames need. It is compared with what the packets
promise. Never imports torch.
"""

from collections import deque
from collections.abc import Iterator
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plfeat.video.sampling import Indices
from plfeat.video.scan import Film

if TYPE_CHECKING:
    import av


class BrokenPromiseError(Exception):
    """What is decoded is not what the packets said."""


def needed(film: Film, indices: Indices, said: list[str]) -> "Iterator[av.VideoFrame]":
    """The chosen frames, in order. Groups of pictures that hold none of them are not decoded."""
    wanted = deque((film.listing.key_T[i], film.listing.time_T[i]) for i in indices.tolist())
    feeding, fresh, first = False, True, None
    for number, packet in enumerate(chain(film.packets(), [None])):
        if not feeding and packet is not None:
            if number < wanted[0][0]:
                continue
            film.decoder.flush_buffers()
            feeding, fresh, first = True, True, packet.pts
        if packet is not None and packet.pts < first:
            continue  # shown before the first, it needs pictures that were not decoded
        for frame in film.decoder.decode(packet):
            if fresh:
                leans = _leans(frame)
                fresh = leans is None
                if leans:
                    raise BrokenPromiseError
            if frame.is_corrupt:
                said.append("error: a frame is marked as corrupt")
            if frame.pts == wanted[0][1]:
                yield frame
                wanted.popleft()
                if not wanted:
                    return
        feeding = wanted[0][0] <= number
    raise BrokenPromiseError


def _leans(frame: "av.VideoFrame") -> bool | None:
    """Whether decoding a picture needed another one. Some decoders do not say what kind a picture is, or say it wrongly
    of the first one."""
    from av.video.frame import PictureType

    if frame.key_frame or frame.pict_type == PictureType.I:
        return False
    return None if frame.pict_type == PictureType.NONE else True


def every(film: Film, said: list[str]) -> "Iterator[av.VideoFrame]":
    """All pictures that come out of the decoder, in order."""
    from av.error import InvalidDataError

    film.decoder.flush_buffers()
    packets = frames = 0
    leans: bool | None = None
    for packet in chain(film.packets(), [None]):
        packets += packet is not None
        try:
            decoded = film.decoder.decode(packet)
        except InvalidDataError:
            if film.listing.anew or frames:
                raise
            continue  # it comes before the first key
        for frame in decoded:
            if frame.is_corrupt:
                said.append("error: a frame is marked as corrupt")
            leans = _leans(frame) if leans is None else leans
            frames += 1
            yield frame
    if leans or (not film.listing.anew and frames < packets):
        said.append("error: the film does not begin with a picture that can be decoded alone")


def promised(film: Film, said: list[str]) -> "Iterator[av.VideoFrame]":
    """All pictures, if they are as many as the packets promise and have the times that the packets say."""
    listing, times = film.listing, []
    for frame in every(film, said):
        times.append(listing.clock.read(frame))
        yield frame
    if len(times) != len(listing.seconds_T):
        raise BrokenPromiseError
    if listing.timed and not np.allclose(listing.clock.seconds(times), listing.seconds_T, rtol=0, atol=1e-6):
        raise BrokenPromiseError


def upright(frame: "av.VideoFrame") -> NDArray[np.uint8]:
    """RGB as a viewer sees it. A phone stores a picture on its side, with a note of how to turn it."""
    picture: Any = _reformatter().reformat(frame, format="rgb24", threads=1).to_ndarray()
    return np.rot90(picture, frame.rotation // 90) if frame.rotation else picture


@cache
def _reformatter() -> "av.video.reformatter.VideoReformatter":
    """One for all pictures: making it takes longer than using it, and it remembers the sizes that it has seen."""
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()
