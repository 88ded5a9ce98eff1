"""Videos in, a store out: datasets → video → backbone → shards. What is there is not made again.

The list is read, and its files are known, before torch is loaded, and so are all names looked at: a mistake costs a
second.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plfeat.config import ExtractConfig
from plfeat.datasets import assign
from plfeat.errors import CacheError, DataError, UsageError
from plfeat.extract.find import Found, find, known_files, latest
from plfeat.extract.plan import FRAMES, Chunk, Takes, Wanted, cut, lacking, rest_of, takes_for, takes_of, wanted
from plfeat.extract.pool import folder_of, is_store, pool_of, seen_under
from plfeat.extract.speed import Progress, Speed
from plfeat.flows.given import check_model, list_videos
from plfeat.means import Means
from plfeat.progress import LOOKING, MODEL, load_torch, stage
from plfeat.records import Tick, VideoList
from plfeat.shards.growth import Growth
from plfeat.shards.lists import list_hash, lists_in, read_list
from plfeat.shards.store import open_store

if TYPE_CHECKING:
    from plfeat.extract.look import Estimate as Estimate  # what `estimate` gives
    from plfeat.frames.kit import Kit

Tell = Callable[[str], None]


def quiet(remark: str) -> None:
    """The Tell that says nothing."""


@dataclass(frozen=True)
class Extraction:
    """What a run left behind for its list, and how fast it went: videos a second that the workers could decode, frames
    a second that the encoder could take, and which of the two was the limit."""

    path: Path
    list: str
    videos: int
    decoded: int  # in this run, each counted once
    reused: int  # those of which everything was there
    failed: int  # that have no features, and why is in the ledger
    missing: int  # of the failed, those without a file
    doubtful: int
    unmade: int  # that are left to another part, or to another run
    reasons: dict[str, int]
    seconds: float
    decode_videos: float
    encode_frames: float
    limit: str

    @property
    def complete(self) -> bool:
        return not self.unmade

    def as_dict(self) -> dict[str, Any]:
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "complete": self.complete}


@dataclass(frozen=True)
class Work:
    """Everything that is decided before the first video is opened."""

    kit: "Kit"
    found: Found
    folder: Path
    takes: dict[str, Takes]
    want: Wanted = field(repr=False)

    @property
    def videos(self) -> VideoList:
        return self.found.videos

    def chunks(self, part: tuple[int, int] = (1, 1)) -> list[Chunk]:
        number, count = part
        return cut(self.want, self.kit.config.shard, FRAMES[self.kit.encoder.device.type])[number - 1 :: count]

    def without(self, gone: set[str]) -> "Work":
        """The videos of these keys are missing."""
        rows = tuple(replace(row, video="") if row.video in gone else row for row in self.videos.rows)
        found = replace(self.found, videos=replace(self.videos, rows=rows))
        return replace(self, found=found, want={key: self.want[key] for key in self.want if key not in gone})


def prepare(config: ExtractConfig, root: Path, cache_root: Path, tick: Tick, tell: Tell = quiet) -> Work:
    check_model(config)
    if config.split is not None:
        assign.read_shares(config.split)
    known = known_files(cache_root)
    videos = list_videos(config, root, seen_under(root, config.pool, known), tick)
    hints = latest(seen for each in known.values() for seen in each)
    found = find(videos, root, _at(hints, root, config.pool, known), tick)
    _require_some(found.videos, root)
    load_torch(tick)
    from plfeat.flows.backbones import open_backbone
    from plfeat.frames.kit import gather

    with stage(tick, MODEL):
        kit = gather(config, open_backbone)
    folder = folder_of(cache_root, pool_of(found.videos, config.pool, known), kit.recipe)
    before = _before(found.videos, folder)
    videos = found.videos if root.exists() else _with_classes_of(before, found.videos)
    found = replace(found, videos=divided(videos, before, config, tell))
    takes = takes_of(config.sample, config.augment, config.also)
    _require_videos_for_views(found.videos, config)
    return Work(kit, found, folder, takes, wanted(found.videos, takes))


def extract(
    config: ExtractConfig, root: Path, cache_root: Path, tick: Tick, means: Means | None = None, tell: Tell = quiet
) -> Extraction:
    """Every video of a list, once. Running it again continues; a video that cannot be decoded never stops it."""
    started = time.perf_counter()
    work = prepare(config, root, cache_root, tick, tell)
    from plfeat.device import enough_memory
    from plfeat.extract.make import smaller

    with enough_memory(smaller(work.kit.batch)), Growth(work.folder, work.kit.recipe, tick) as growth:
        return _extract(work, growth, means or Means(), tick, tell, started)


def _extract(work: Work, growth: Growth, means: Means, tick: Tick, tell: Tell, started: float) -> Extraction:
    lacks = lacking(growth, work.want, means.retry)
    work, lacks = _without_files(work, growth, lacks, tell)
    growth.note_files(work.found.seen)
    todo = rest_of(work.chunks(means.part), lacks)
    speed, decoded = Speed(means.workers), set[str]()
    if todo:
        speed = make(work.kit, growth, todo, work.want, work.found.files, means, tick, tell, decoded)
    growth.put_list(work.videos, work.takes)
    keep_texts(growth, work.kit, work.videos.words, work.kit.config.tower, tick, tell)
    with stage(tick, "closing the books"):
        growth.finish()
        tally = growth.tally(work.videos, lambda row: takes_for(row, work.takes))
    return Extraction(
        path=work.folder,
        list=f"{work.videos.name}@{list_hash(work.videos)}",
        videos=tally.videos,
        decoded=len(decoded),
        reused=len(work.want.keys() - lacks.keys()),
        failed=tally.failed,
        missing=tally.missing,
        doubtful=tally.doubtful,
        unmade=tally.unmade,
        reasons=tally.reasons,
        seconds=time.perf_counter() - started,
        decode_videos=speed.decode_videos,
        encode_frames=speed.encode_frames,
        limit=speed.limit,
    )


def make(
    kit: "Kit",
    growth: Growth,
    todo: list[Chunk],
    want: Wanted,
    files: dict[str, Any],
    means: Means,
    tick: Tick,
    tell: Tell,
    decoded: set[str],
) -> Speed:
    """Makes chunks and adds what comes of them to a store; `decoded` gets their videos."""
    from plfeat.extract.again import require_alike
    from plfeat.extract.look import preprocess_deviation
    from plfeat.extract.make import make_here, make_on_ray
    from plfeat.flows.backbones import open_backbone

    require_alike(growth, kit, files, means, tick, tell)
    if not any("preprocess" in maker.get("compared", ()) for maker in growth.all_makers()):
        with stage(tick, LOOKING):
            deviation = preprocess_deviation(kit, want, files, means)
        growth.makers.append({**kit.maker, "compared": {"preprocess": deviation}})

    def still(chunk: Chunk) -> Chunk:
        growth.look()
        lacks = lacking(growth, chunk.takes)
        again = {key: chunk.takes[key] for key in chunk.takes if means.retry}
        return Chunk(again or lacks)

    progress, speed = Progress(tick, sum(len(chunk.takes) for chunk in todo)), Speed(means.workers)
    made = (
        make_on_ray(kit, todo, files, means, progress, open_backbone)
        if means.engine == "ray"
        else make_here(kit, todo, files, means, progress, still)
    )
    for each in made:
        for shard in each.shards:
            growth.add(shard)
        decoded.update(each.chunk.takes)
        speed = each.speed
    return speed


def estimate(
    config: ExtractConfig, root: Path, cache_root: Path, tick: Tick, means: Means, tell: Tell = quiet
) -> "Estimate":
    """What it would take to make what is lacking. Writes nothing."""
    work = prepare(config, root, cache_root, tick, tell)
    from plfeat.extract import look

    if is_store(work.folder):
        with Growth(work.folder, work.kit.recipe, tick) as growth:
            work, lacks = _without_files(work, growth, lacking(growth, work.want, means.retry), quiet)
    else:
        work, lacks = _without_files(work, None, dict(work.want), quiet)
    missing = sum(not row.video for row in work.videos.rows)
    with stage(tick, LOOKING):
        return look.estimate(work.kit, lacks, work.found.files, means, len(work.videos.rows), missing)


def keep_texts(growth: Growth, kit: "Kit", words: tuple[str, ...], keep_tower: bool, tick: Tick, tell: Tell) -> None:
    """The list's class words in the default templates, and the text tower, each unless it is there."""
    from plfeat.backbone.tower import save_tower, tower_of
    from plfeat.desk import make_texts
    from plfeat.model.templates import TEMPLATES
    from plfeat.shards.room import place
    from plfeat.shards.store import TEXT
    from plfeat.shards.texts import read_texts, text_bytes, text_name

    try:
        tower = tower_of(kit.backbone)
    except UsageError as error:
        tell(f"no texts: {error}")
        return
    if words:
        name = text_name(tower.sha256, words, TEMPLATES)
        try:
            read_texts(place(growth.folder, TEXT, name))
        except (CacheError, OSError):
            texts = make_texts(tower.to(kit.device), words, TEMPLATES, kit.config.dtype, tick)
            if bad := texts.bad():
                raise CacheError(f"the text tower makes no numbers of {bad[0]!r}; set dtype=float32") from None
            growth.put_text(name, text_bytes(texts))
    path = place(growth.folder, TEXT, f"tower-{tower.sha256[:16]}.safetensors")
    if keep_tower and not path.exists():
        try:
            save_tower(path, kit.backbone)
        except UsageError as error:
            tell(f"the text tower is not kept: {error}")


def divided(videos: VideoList, before: VideoList | None, config: ExtractConfig, tell: Tell) -> VideoList:
    """The list with its splits: as they were asked for, or as the one before it was divided; a video that it knows
    keeps its place."""
    if config.folds is not None:
        return assign.folds(videos, config.folds, before=before)
    if config.split is not None:
        return assign.split(videos, assign.read_shares(config.split), before=before)
    if before and assign.drawn(before) and not any("train" in row.split for row in videos.rows):
        tell(f"list {videos.name}: divided as before ({before.how})")
        return assign.grow(videos, before)
    if any(row.label >= 0 for row in videos.rows) and not any("train" in row.split for row in videos.rows):
        there = " or ".join(sorted({split for row in videos.rows for split in row.split if split})) or "unused"
        tell(
            f"list {videos.name}: all {len(videos.rows)} videos are {there} videos, there is none to train on; "
            "--split 70/10/20 divides them, --folds 5 makes five folds of them, here or when training"
        )
    return videos


def _before(videos: VideoList, folder: Path) -> VideoList | None:
    """The current list of that name, if the store has one. A damaged one is an error: nobody else knows how it was
    divided."""
    try:
        store = open_store(folder)
    except CacheError:  # not finished, or a damaged manifest: the version that was written last
        there = lists_in(folder).get(videos.name)
        return read_list(there) if there else None
    return store.read_list(videos.name) if videos.name in store.lists else None


def _with_classes_of(before: VideoList | None, videos: VideoList) -> VideoList:
    """Where the folder is gone, so is the table of its classes: they keep their order, strata and mirrors."""
    if before is None or sorted(before.classes) != sorted(videos.classes):
        return videos
    label = {name: number for number, name in enumerate(before.classes)}
    there = [label[name] for name in videos.classes]
    rows = tuple(replace(row, label=there[row.label]) if row.label >= 0 else row for row in videos.rows)
    words = tuple(videos.words[there.index(number)] for number in range(len(there)))
    return replace(videos, rows=rows, classes=before.classes, words=words, stratum=before.stratum, mirror=before.mirror)


def _at(hints: dict[str, Any], root: Path, pool: str | None, known: dict[Path, list[Any]]) -> dict[str, Any]:
    """The same hints; of a pool that was asked for, also for files that were seen under another root."""
    if pool is None:
        return hints
    base = str(root.absolute())
    moved = [s for store, seen in known.items() if store.absolute().parent.name == pool for s in seen if s.root]
    return {f"{base}/{s.path}": s for s in moved} | hints


def _without_files(work: Work, growth: Growth | None, lacks: Wanted, tell: Tell) -> tuple[Work, Wanted]:
    """What is lacking and can be made. A video that is neither here nor in the store is missing."""
    lost = {key: takes for key, takes in lacks.items() if key.partition("#")[0] not in work.found.files}
    if not lost:
        return work, lacks
    gone = {key for key, takes in lost.items() if takes == work.want[key]}
    if gone:
        tell(f"list {work.videos.name}: {len(gone)} videos are neither in the store nor on disk; they are missing")
    if partly := lost.keys() - gone:
        tell(
            f"list {work.videos.name}: {len(partly)} videos are not on disk, and the store has not everything of them "
            f"that is asked for, such as {lost[min(partly)][0].name}; name their folder with --root"
        )
    return work.without(gone), {key: takes for key, takes in lacks.items() if key not in lost}


def _require_some(videos: VideoList, root: Path) -> None:
    """A list of which nothing is there, and nothing was ever seen, is most often looked for in the wrong place."""
    if not any(row.video for row in videos.rows):
        raise DataError(
            f"list {videos.name}: none of its {len(videos.rows)} videos is there, and no store has seen any; the "
            f"first is {videos.rows[0].name!r}, looked for under {root}; name their folder with --root"
        )


def _require_videos_for_views(videos: VideoList, config: ExtractConfig) -> None:
    """Views that no video of the list is taken in are a mistake."""
    splits = {split for row in videos.rows for split in row.split if split}
    for key, views, none in (
        ("sample.views", config.sample.views, "train" not in splits),
        ("sample.test_views", config.sample.test_views, splits <= {"train"}),
    ):
        if views > 1 and none:
            raise UsageError(
                f"{key}={views}: no video of {videos.name} has them, all are {', '.join(sorted(splits))} videos"
            )
