"""Features that do not fit in memory are read from the store while a fleet trains, and nothing else changes by it."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from test_shards import RECIPE, key

from plfeat.config import TrainConfig
from plfeat.errors import CacheError
from plfeat.model.draws import Draws
from plfeat.model.temporal import Mean, Transformer
from plfeat.recipe import Take
from plfeat.records import silent
from plfeat.settings import build
from plfeat.shards.growth import Growth
from plfeat.shards.schema import OK, Shard
from plfeat.shards.store import Store, open_store
from plfeat.shards.views import Views
from plfeat.train import features as features_module
from plfeat.train.build import keys, tip_keys
from plfeat.train.checkpoint import load_state, save_state
from plfeat.train.features import Features, Mapped, ahead, fits, free_memory, not_kept
from plfeat.train.fleet import Fleet, Learner, Samples
from plfeat.train.matcher import Coefficients, Matcher
from plfeat.train.others import LinearClassifier, TipAdapter
from plfeat.train.sources import Fixed

CPU = torch.device("cpu")
VIDEOS, VIEWS, FRAMES, WIDTH, CLASSES = 40, 2, 4, 16, 4
TAKES = [Take("random", FRAMES, 0, view) for view in range(VIEWS)]
LABELS = torch.arange(VIDEOS) % CLASSES


def _shard(videos: range, take: Take) -> Shard:
    draw, rows = np.random.default_rng([videos.start, take.view]), len(videos) * FRAMES
    return Shard(
        features_RX=draw.standard_normal((rows, WIDTH), np.float32).astype(np.float16),
        frame_index_R=np.zeros(rows, np.int32),
        video_ptr=np.arange(0, rows + 1, FRAMES),
        status_N=np.full(len(videos), OK, np.uint8),
        video_N=tuple(map(key, videos)),
        decoder_N=("pyav",) * len(videos),
        error_N=("",) * len(videos),
        take=take,
        recipe=RECIPE.fingerprint,
        maker={},
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two views of forty videos, in shards of other sizes."""
    with Growth(tmp_path / "store", RECIPE) as growth:
        for take, parts in zip(TAKES, [(0, 7, 30, VIDEOS), (0, 12, VIDEOS)], strict=True):
            for start, end in pairwise(parts):
                growth.add(_shard(range(start, end), take))
        return growth.finish()


def _views(store: Store) -> Views:
    return Views.of([store.rows([key(n) for n in range(VIDEOS)], take) for take in TAKES])


def _resident(views: Views) -> torch.Tensor:
    return torch.from_numpy(np.stack([rows.read() for rows in views.rows], axis=1))


def _matcher(seeds: tuple[int, ...]) -> Matcher:
    losses = build(TrainConfig).loss
    weights = [torch.ones(len(seeds)) for _ in range(5)]
    text = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(0))
    how = {"labels": losses.labels, "pairs": losses.pairs, "everything": False, "contrasts": False}
    head = Transformer(Draws(seeds), WIDTH, FRAMES, 1, 2)
    return Matcher(len(seeds), head, Fixed(text, None, None, 1), None, Coefficients(*weights, **how), 2.0)


def _linear(seeds: tuple[int, ...]) -> LinearClassifier:
    return LinearClassifier(Draws(seeds), Mean(), WIDTH, CLASSES)


def _fleet(kind: str, features: Features, seeds: tuple[int, ...] = (0, 1, 2)) -> Fleet:
    config = build(TrainConfig)
    config = config.model_copy(update={"optim": config.optim.model_copy(update={"epochs": 3, "batch": 8})})
    members = [config.model_copy(update={"seeds": (seed,)}) for seed in seeds]
    learner: Learner = {"matcher": _matcher, "linear": _linear}[kind](seeds)
    return Fleet(learner, members, Samples(features, LABELS), torch.arange(VIDEOS).expand(len(seeds), -1))


@pytest.mark.parametrize(("kind", "pooled"), [("matcher", False), ("linear", False), ("linear", True)])
def test_a_fleet_that_reads_from_the_store_is_to_the_bit_one_that_has_all_in_memory(
    kind: str, pooled: bool, store: Store
) -> None:
    views = _views(store)
    here = _resident(views)
    here = here.mean(dim=2, keepdim=True, dtype=torch.float32) if pooled else here
    fleets = [_fleet(kind, features) for features in (here, Mapped(views, CPU, pooled))]
    for fleet in fleets:
        fleet.run(fleet.train, silent)
    assert fleets[0].state.curve == fleets[1].state.curve
    scores = [fleet.learner.score(fleet.train.features_NVTD) for fleet in fleets]
    assert torch.equal(*scores)
    for one, other in zip(*(fleet.adamw.parameters for fleet in fleets), strict=True):
        assert torch.equal(one, other)


def test_a_training_that_was_begun_in_memory_goes_on_from_the_store(store: Store, tmp_path: Path) -> None:
    views = _views(store)
    first = _fleet("linear", _resident(views))
    first.one_epoch(None)
    save_state(first, "same", tmp_path / "state")
    second = _fleet("linear", Mapped(views, CPU))
    load_state(second, "same", tmp_path / "state")
    for fleet in (first, second):
        fleet.run(None, silent)
    assert first.state.curve == second.state.curve


def test_scores_do_not_depend_on_where_the_features_are(store: Store) -> None:
    views = _views(store)
    key_ND = keys(_resident(views))
    tip = TipAdapter(key_ND[None], LABELS[None], torch.eye(CLASSES, WIDTH), 10.0, 1.0, 5.0)
    for learner in (_matcher((0, 1)), _linear((0, 1)), tip):
        assert torch.equal(learner.score(_resident(views)), learner.score(Mapped(views, CPU)))
    matcher = _matcher((0,))
    assert torch.equal(matcher.score(_resident(views), 1 << 14), matcher.score(Mapped(views, CPU), 1 << 14))


def test_what_tip_adapter_starts_from_is_the_same(store: Store) -> None:
    views, chosen_EN = _views(store), torch.tensor([[3, 1, 39], [0, 7, 8]])
    here, there = (tip_keys(Samples(f, LABELS), chosen_EN) for f in (_resident(views), Mapped(views, CPU)))
    assert torch.equal(here[0], there[0])
    assert torch.equal(here[1], there[1])
    assert torch.equal(here[0], keys(_resident(views))[chosen_EN])


def test_only_videos_with_features_in_every_view_are_among_the_views(store: Store) -> None:
    with Growth(store.path, RECIPE) as growth:
        growth.add(_shard(range(VIDEOS, VIDEOS + 3), TAKES[1]))  # no first view
        store = growth.finish()
    asked = [VIDEOS + 1, 5, 99, 0]
    views = Views.of([store.rows([key(n) for n in asked], take) for take in TAKES])
    assert views.place_N.tolist() == [1, 3]
    assert views.shape == (2, VIEWS, FRAMES, WIDTH)
    assert np.array_equal(views.read(), _resident(_views(store))[[5, 0]].numpy())


def test_a_choice_of_views_reads_nothing_and_is_what_was_chosen(store: Store) -> None:
    views = _views(store)
    some = views[np.array([9, 2])]
    assert np.array_equal(some.read(), _resident(views)[[9, 2]].numpy())
    assert some.nbytes == 2 * VIEWS * FRAMES * WIDTH * 2


def _spoil(store: Store, video: int, take: Take) -> Store:
    for path in (store.path / "shards").glob(f"{take.name}-*.h5"):
        with h5py.File(path) as file:
            videos, place = file["video"][:].tolist(), file["features"].id.get_offset()
        if key(video).encode() in videos:
            content = bytearray(path.read_bytes())
            content[place + videos.index(key(video).encode()) * FRAMES * WIDTH * 2] ^= 1
            path.write_bytes(content)
    return open_store(store.path)


def test_a_flipped_bit_is_found_on_the_way(store: Store) -> None:
    fleet = _fleet("linear", Mapped(_views(_spoil(store, 33, TAKES[1])), CPU))
    with pytest.raises(CacheError, match="checksum"):
        fleet.run(None, silent)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("features")]


def test_features_that_are_not_numbers_are_found_on_the_way(tmp_path: Path) -> None:
    shard = _shard(range(4), TAKES[0])
    shard.features_RX[2 * FRAMES, 0] = np.nan
    with Growth(tmp_path / "store", RECIPE) as growth:
        growth.add(shard)
        store = growth.finish()
    views = Views.of([store.rows([key(n) for n in range(4)], TAKES[0])])
    with pytest.raises(CacheError, match=f"video {key(2)} are not numbers"):
        list(Mapped(views, CPU).split(2))


def test_the_next_pieces_are_read_while_one_is_used() -> None:
    begun: list[int] = []

    def piece(number: int) -> int:
        begun.append(number)
        return number

    found: Iterator[int] = ahead(partial(piece, number) for number in range(9))
    assert next(found) == 0
    for _ in range(200):
        if len(begun) == 4:
            break
        time.sleep(0.01)
    assert sorted(begun) == [0, 1, 2, 3]  # three more, and no more
    assert list(found) == list(range(1, 9))


def test_features_stay_in_memory_if_half_of_what_is_free_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fits(5, 10)
    assert not fits(6, 10)
    assert not_kept(41 * 10**9, 12 * 10**9) == "features of 41 GB are read from the store, 12 GB are free"
    assert 0 < free_memory(CPU) < 1 << 60
    monkeypatch.setattr(features_module, "_group_free", lambda groups: 17)
    assert free_memory(CPU) == 17


def test_a_containers_limit_counts_and_pages_of_files_do_not(tmp_path: Path) -> None:
    assert features_module._group_free(tmp_path) > 1 << 60
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 300\nactive_file 150\ninactive_file 50\n")
    assert features_module._group_free(tmp_path) == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert features_module._group_free(tmp_path) > 1 << 60
