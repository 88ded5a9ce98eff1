"""How far an extraction is, and which half of it holds up the other."""

import time
from dataclasses import dataclass, field

from plfeat.flows.encode import ShardMaker
from plfeat.records import Tick
from plfeat.video.crew import Crew

STAGE = "encoding videos"


@dataclass
class Progress:
    """Counts the videos of finished shards; `within` counts on inside the current one."""

    tick: Tick
    total: int
    crew: Crew
    maker: ShardMaker
    finished: int = field(default=0, init=False)
    started: float = field(default_factory=time.monotonic, init=False)

    def skip(self, videos: int) -> None:
        """A whole shard is done, or was there already."""
        self.finished += videos
        if videos:
            self.within(0)

    def within(self, videos: int) -> None:
        self.tick(STAGE, self.finished + videos, self.total, self.note)

    @property
    def limit(self) -> str:
        """Whoever the other one waits for."""
        return "decode" if self.crew.waited > self.maker.seconds else "encode"

    @property
    def note(self) -> str:
        if not self.crew.decoded or not self.maker.frames:
            return ""
        return f"decode {self.crew.rate:.0f} videos/s, encode {self.maker.rate:.0f} frames/s, limit: {self.limit}"
