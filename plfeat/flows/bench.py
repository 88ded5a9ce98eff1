"""How fast extraction and reading are, against what limits them and against what most extractors do. One run, ratios.

The limit: decoding alone and encoding alone, each with the whole machine to itself. On a CPU the two share the cores,
so no pipeline can take less than the sum of their times; with a GPU no less than the longer of the two.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.transform import image_transform_v2
from PIL import Image

from plfeat.backbone.vision import one_thread
from plfeat.config import ExtractConfig
from plfeat.flows.make import make_here
from plfeat.means import Means
from plfeat.progress import Progress
from plfeat.flows.work import Kit, Work, prepare
from plfeat.records import Tick, silent
from plfeat.shards.folder import Books, claim
from plfeat.shards.reader import Cache, open_cache
from plfeat.shards.schema import FORMAT, OK, Shard, expected_shards
from plfeat.shards.writer import shard_bytes
from plfeat.toy.videos import frames_of, write_video
from plfeat.video.sampling import segment_centres

_PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "4090": 165e12}  # dense bf16 FLOP/s, by their makers
_READ = {"videos": 20_000, "frames": 8, "width": 512}  # a split of 164 MB in float16


@dataclass(frozen=True)
class Rates:
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
class Reading:
    """`of_memcpy` is a whole split read again, warm; `first_of_memcpy` with every shard hashed on the way."""

    bytes: int
    memcpy_bytes: float
    of_memcpy: float
    first_of_memcpy: float
    random_videos: float


def bench_extract(config: ExtractConfig, root: Path, means: Means, repeats: int, tick: Tick) -> Rates:
    work = prepare(config, root)
    todo = work.portions
    videos, clips = [v for portion in todo for v in portion.videos], _decoded(work, means)
    frames = sum(len(clip) for clip in clips)
    parts: dict[str, Callable[[], object]] = {
        "decode": lambda: _decode(work, means),
        "encode": lambda: _encode(work.kit, clips),
        "pipeline": lambda: _pipeline(work, means),
        "naive": lambda: _naive(work),
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(repeats + 1):  # the first one warms up
        for name, part in parts.items():
            started = time.perf_counter()
            part()
            seconds[name].append(time.perf_counter() - started)
        tick("measuring", turn, repeats)
    ratios = [
        {
            "limit": (d + e if work.kit.device == "cpu" else max(d, e)) / p,
            "naive": n / p,
            "encoder": e / p,
        }
        for d, e, p, n in list(zip(*(seconds[name] for name in parts), strict=True))[1:]
    ]
    typical = {name: statistics.median(spent[1:]) for name, spent in seconds.items()}
    return Rates(
        videos=len(videos),
        frames=frames,
        workers=means.workers,
        device=_name(work.kit),
        decode_videos=len(videos) / typical["decode"],
        encode_frames=frames / typical["encode"],
        pipeline_videos=len(videos) / typical["pipeline"],
        naive_videos=len(videos) / typical["naive"],
        of_limit=statistics.median(ratio["limit"] for ratio in ratios),
        of_naive=statistics.median(ratio["naive"] for ratio in ratios),
        of_encoder=statistics.median(ratio["encoder"] for ratio in ratios),
        flops_share=_flops_share(work.kit, frames / typical["encode"]),
    )


def bench_read(repeats: int) -> Reading:
    """A made-up split of the usual shape, in the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        cache = _made_up_cache(Path(folder))
        started = time.perf_counter()
        features = cache.read("train").features_NVTD
        first = time.perf_counter() - started
        copying, reading, picking = [], [], []
        order = np.random.default_rng(0).permutation(_READ["videos"])
        videos = cache.videos("train")
        names = [list(videos)[i] for i in order]
        for _ in range(repeats + 1):
            copying.append(_timed(lambda: features.copy()))
            reading.append(_timed(lambda: cache.read("train")))
            picking.append(_timed(lambda: [videos[name].copy() for name in names]))
        ratios = [copy / read for copy, read in zip(copying[1:], reading[1:], strict=True)]
        memcpy = statistics.median(copying[1:])
        return Reading(
            bytes=features.nbytes,
            memcpy_bytes=features.nbytes / memcpy,
            of_memcpy=statistics.median(ratios),
            first_of_memcpy=memcpy / first,
            random_videos=len(names) / statistics.median(picking[1:]),
        )


@contextmanager
def own_clips(count: int, tick: Tick) -> Iterator[Path]:
    """A folder of clips like those of Kinetics: 340x256, 10 s at 25 frames/s, H.264, a key frame every 12."""
    with tempfile.TemporaryDirectory() as folder:
        made = [Path(folder) / "clips" / "action" / f"{number:04}.mp4" for number in range(count)]
        made[0].parent.mkdir(parents=True)
        for number, path in enumerate(made):
            if number < 16:
                small = frames_of("train", number % 24, number, seed=0)
                large = small.repeat(4, axis=1).repeat(6, axis=2)[:, :, :340]
                write_video(path, np.concatenate([large] * 11)[:250], rate=25, gop=12)
            else:
                path.hardlink_to(made[number % 16])  # decoded again all the same
            tick("drawing clips", number + 1, count)
        yield Path(folder) / "clips"


def _decoded(work: Work, means: Means) -> list[np.ndarray]:
    maker = work.kit.maker()
    with work.kit.crew(means) as crew:
        clips = crew.run(maker.job(video) for video in work.dataset.videos)
        return [np.array(clip.frames_UHWC[clip.answer.picks[0]]) for clip in clips]


def _decode(work: Work, means: Means) -> None:
    maker = work.kit.maker()
    with work.kit.crew(means) as crew:
        for _ in crew.run(maker.job(video) for video in work.dataset.videos):
            pass


def _encode(kit: Kit, clips: list[np.ndarray]) -> None:
    batches = kit.maker().batches
    with one_thread(kit.encoder.device):
        for clip in clips:
            batches.add(kit.encoder.fit(clip))
        batches.finish()


def _pipeline(work: Work, means: Means) -> None:
    """From files to shards on disk."""
    with tempfile.TemporaryDirectory() as folder:
        for made in make_here(work, work.portions, means, Progress(silent, 0)):
            (Path(folder) / made.name).write_bytes(made.image)


def _naive(work: Work) -> None:
    """One video at a time, decord with as many threads as it likes, open_clip's own transform, one file a video."""
    import decord

    transform = image_transform_v2(work.kit.backbone.preprocess, is_train=False)
    model: Any = work.kit.backbone.model.to(work.kit.device)
    count = work.kit.config.sample.frames
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for number, video in enumerate(work.dataset.videos):
            reader = decord.VideoReader(str(video.path))
            frames = reader.get_batch(segment_centres(len(reader), count)).asnumpy()
            pictures = torch.stack([transform(Image.fromarray(frame)) for frame in frames])
            features = model.encode_image(pictures.to(work.kit.device))
            np.save(Path(folder) / f"{number}.npy", features.cpu().numpy())


def _made_up_cache(folder: Path) -> Cache:
    """A cache's bookkeeping around random features."""
    videos, frames, width = _READ["videos"], _READ["frames"], _READ["width"]
    about = dict.fromkeys(("model", "pretrained", "weights_sha256", "activation"), "made up")
    dataset = {"name": "made up", "classes": ["a"], "group": [], "mirror": [], "list_sha256": ""}
    spec = {"format": FORMAT, "model": about, "sampler": {"kind": "segments"}, "shard": 2048}
    spec["dataset"] = dataset | {"splits": {"train": videos}}
    claim(folder, spec)
    books = Books(folder, spec)
    rng = np.random.default_rng(0)
    for number, (name, (_, count)) in enumerate(expected_shards(spec).items()):
        rows = count * frames
        shard = Shard(
            features_RD=rng.standard_normal((rows, width), np.float32).astype(np.float16),
            frame_index_R=np.zeros(rows, np.int32),
            view_R=np.zeros(rows, np.int32),
            video_ptr=np.arange(0, rows + 1, frames, dtype=np.int64),
            label_N=np.zeros(count, np.int64),
            status_N=np.full(count, OK, np.uint8),
            id_N=tuple(f"{number}/{i}" for i in range(count)),
            decoder_N=("",) * count,
            error_N=("",) * count,
        )
        books.write(name, shard_bytes(shard))
    books.finish({"name": None})
    return open_cache(folder)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _name(kit: Kit) -> str:
    return torch.cuda.get_device_name(kit.encoder.device) if kit.device != "cpu" else "cpu"


def _flops_share(kit: Kit, frames: float) -> float | None:
    peak = next((value for name, value in _PEAK.items() if name in _name(kit)), None)
    if peak is None:
        return None
    frame = kit.encoder.blank(1)
    kit.encoder.join()
    return counted(lambda: kit.encoder.tower(kit.encoder.pixels.normalise(frame))) * frames / peak


def counted(work: Callable[[], object]) -> float:
    """Floating-point operations. The counter knows products, but not those within a fused attention."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            work()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return float(counter.get_total_flops())
