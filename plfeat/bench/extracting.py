"""How fast extraction is, against what limits it and against what most extractors do. One run, ratios.

The limit: decoding alone and encoding alone, each with the whole machine to itself. On a CPU the two share the cores,
so no pipeline can take less than the sum of their times; with a GPU no less than the longer of the two.
"""

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.transform import image_transform_v2
from PIL import Image

from plfeat.backbone.vision import Batches, one_thread
from plfeat.bench.timing import Ways, counted, device_name, rounds
from plfeat.extract.make import Files, jobs, make_here
from plfeat.extract.plan import Chunk
from plfeat.extract.speed import Progress
from plfeat.frames.kit import Kit
from plfeat.means import Means
from plfeat.records import Tick, silent
from plfeat.shards.writer import shard_bytes
from plfeat.video.crew import Decoded
from plfeat.video.sampling import segment_centres

_PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "4090": 165e12}  # dense bf16 FLOP/s, by their makers

Pictures = list[NDArray[np.uint8]]
"""The frames `[T, H, W, 3]` of every video."""


@dataclass(frozen=True)
class ExtractRates:
    """Medians over the repeats. `of_limit` and `of_naive` are ratios of times within one run."""

    videos: int
    frames: int
    workers: int
    device: str
    decode_videos: float
    encode_frames: float
    pipeline_videos: float
    naive_videos: float
    of_limit: float
    of_naive: float
    of_encoder: float  # frames through the pipeline, of what the encoder alone takes
    flops_share: float | None  # of the chip's dense bf16 peak, while encoding alone


@dataclass(frozen=True)
class Setup:
    """Videos of which all is to be made, in chunks, and the means to do it."""

    kit: Kit
    chunks: list[Chunk]
    files: Files
    means: Means

    def decoded(self) -> Iterator[Decoded]:
        """Of every video the frames that its looks show, and nothing else done."""
        looked_at = max(1, self.chunks[0].frames // len(self.chunks[0].takes))
        with self.kit.crew(self.means, looked_at) as crew:
            yield from crew.run(job for chunk in self.chunks for job in jobs(chunk, self.files))

    def pictures(self) -> Pictures:
        """The frames of the first look."""
        return [np.array(clip.frames_UHWC[clip.answer.picks[0]]) for clip in self.decoded()]

    def decode(self) -> None:
        for _ in self.decoded():
            pass

    def encode(self, pictures: Pictures) -> None:
        batches = Batches(self.kit.encoder, self.kit.batch)
        with one_thread(self.kit.encoder.device):
            for frames in pictures:
                batches.add(self.kit.encoder.fit(frames))
            batches.finish()

    def run(self) -> None:
        """From files to shards on disk."""
        with tempfile.TemporaryDirectory() as folder:
            for made in make_here(self.kit, self.chunks, self.files, self.means, Progress(silent, 0)):
                for shard in made.shards:
                    (Path(folder) / shard.name).write_bytes(shard_bytes(shard))

    def run_naive(self) -> None:
        """One video at a time, decord with as many threads as it likes, open_clip's own transform, one file a video."""
        import decord

        kit, device = self.kit, self.kit.device
        transform = image_transform_v2(kit.backbone.preprocess, is_train=False)
        model: Any = kit.backbone.model.to(device)
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            for number, key in enumerate(key for chunk in self.chunks for key in chunk.takes):
                reader = decord.VideoReader(self.files[key.partition("#")[0]].where)
                frames = reader.get_batch(segment_centres(len(reader), kit.config.sample.frames)).asnumpy()
                pictures = torch.stack([transform(Image.fromarray(frame)) for frame in frames])
                features = model.encode_image(pictures.to(device))
                np.save(Path(folder) / f"{number}.npy", features.cpu().numpy())


def bench_extract(work: Setup, repeats: int, tick: Tick) -> ExtractRates:
    kit, pictures = work.kit, work.pictures()
    ways: Ways = {
        "decode": work.decode,
        "encode": lambda: work.encode(pictures),
        "pipeline": work.run,
        "naive": work.run_naive,
    }
    seconds = {name: spent[1:] for name, spent in rounds(ways, repeats + 1, tick).items()}  # the first warms up
    turns = list(zip(*(seconds[name] for name in ways), strict=True))
    typical = {name: statistics.median(spent) for name, spent in seconds.items()}
    videos, frames = len(pictures), sum(map(len, pictures))
    return ExtractRates(
        videos=videos,
        frames=frames,
        workers=work.means.workers,
        device=device_name(kit.encoder.device),
        decode_videos=videos / typical["decode"],
        encode_frames=frames / typical["encode"],
        pipeline_videos=videos / typical["pipeline"],
        naive_videos=videos / typical["naive"],
        of_limit=statistics.median((d + e if kit.device == "cpu" else max(d, e)) / p for d, e, p, _ in turns),
        of_naive=statistics.median(n / p for _, _, p, n in turns),
        of_encoder=statistics.median(e / p for _, e, p, _ in turns),
        flops_share=_flops_share(kit, frames / typical["encode"]),
    )


def _flops_share(kit: Kit, frames: float) -> float | None:
    name = device_name(kit.encoder.device)
    peak = next((value for chip, value in _PEAK.items() if chip in name), None)
    if peak is None:
        return None
    frame = kit.encoder.blank(1)
    kit.encoder.join()
    return counted(lambda: kit.encoder.tower(kit.encoder.pixels.normalise(frame))) * frames / peak
