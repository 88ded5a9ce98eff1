"""How far an extraction is, how fast each half of it could go, and which one holds up the other."""

from dataclasses import dataclass, field

from plfeat.records import Tick

STAGE = "encoding videos"


@dataclass(frozen=True)
class Speed:
    """Counts and seconds of decoding (over all workers) and encoding; `waited` is how long encoding had no frames."""

    workers: int
    videos: int = 0
    decoding: float = 0.0
    waited: float = 0.0
    frames: int = 0
    encoding: float = 0.0

    @property
    def decode_videos(self) -> float:
        """Videos a second that all workers of one machine together could decode."""
        return self.videos * self.workers / self.decoding if self.decoding else 0.0

    @property
    def encode_frames(self) -> float:
        """Frames a second that its encoder took while it was busy."""
        return self.frames / self.encoding if self.encoding else 0.0

    @property
    def limit(self) -> str:
        """Whoever the other one waits for."""
        return "decode" if self.waited > self.encoding else "encode"

    def __add__(self, other: "Speed") -> "Speed":
        return Speed(
            self.workers,
            self.videos + other.videos,
            self.decoding + other.decoding,
            self.waited + other.waited,
            self.frames + other.frames,
            self.encoding + other.encoding,
        )

    def __str__(self) -> str:
        if not self.videos or not self.frames:
            return ""
        rates = f"decode {self.decode_videos:.0f} videos/s, encode {self.encode_frames:.0f} frames/s"
        return f"{rates}, limit: {self.limit}"


@dataclass
class Progress:
    """Counts the videos of finished chunks, and those of the current one."""

    tick: Tick
    total: int
    finished: int = field(default=0, init=False)

    def done(self, videos: int, speed: Speed) -> None:
        """A whole chunk is made, or was made by somebody else."""
        self.finished += videos
        self.within(0, speed)

    def within(self, videos: int, speed: Speed) -> None:
        self.tick(STAGE, self.finished + videos, self.total, str(speed))
