"""Splits of one's own: shares by class, groups whole, drawn by a seed, and never moved by what comes later."""

from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plfeat.datasets import assign
from plfeat.errors import UsageError
from plfeat.records import SPLITS, UNLABELLED, Listed, VideoList


def a_list(rows: list[Listed]) -> VideoList:
    names = tuple(f"class {label}" for label in range(max(row.label for row in rows) + 1))
    return VideoList("mine", tuple(sorted(rows, key=lambda row: row.name)), names, names)


def plain(classes: int, each: int) -> VideoList:
    return a_list([Listed(f"{label:03d}/{n:03d}", label) for label in range(classes) for n in range(each)])


def sizes(videos: VideoList, fold: int = 1) -> list[int]:
    return [len(videos.of(split, fold)) for split in SPLITS]


def groups_in_two_splits(videos: VideoList) -> list[str]:
    where = defaultdict(set)
    for row in videos.rows:
        where[row.group or row.name].add(row.split)
    return [group for group, splits in where.items() if len(splits) > 1]


@st.composite
def lists(draw: st.DrawFn, pure: bool = False) -> VideoList:
    """Groups of 1 to 5 videos; each of one class if they are to be `pure`."""
    classes = draw(st.integers(1, 4))
    rows: list[Listed] = []
    for group in range(draw(st.integers(3, 30))):
        label = draw(st.integers(0, classes - 1))
        for number in range(draw(st.integers(1, 5))):
            own = label if pure else draw(st.integers(0, classes - 1))
            rows.append(Listed(f"{group}-{number}", own, group=f"g{group}" if group % 4 else ""))
    return a_list(rows)


some_shares = st.sampled_from([(70, 10, 20), (80, 20), (80, 0, 20), (34, 33, 33), (0, 50, 50), (12.5, 12.5, 75)])
seeds = st.integers(0, 5)


def test_every_class_is_shared_out_as_asked() -> None:
    videos = assign.split(plain(classes=3, each=20), (70, 10, 20))
    count = Counter((row.label, row.split[0]) for row in videos.rows)
    assert all([count[label, split] for split in SPLITS] == [14, 2, 4] for label in range(3))
    assert videos.how == "70/10/20 by class, groups whole, seed 0"


def test_two_shares_are_train_and_test_and_a_share_may_be_nothing() -> None:
    for shares in [(80, 20), (80, 0, 20)]:
        videos = assign.split(plain(2, 10), shares, seed=3)
        assert sizes(videos) == [16, 0, 4]
        assert videos.how == "80/0/20 by class, groups whole, seed 3"


def test_the_seed_draws_and_the_same_seed_draws_the_same() -> None:
    videos = plain(3, 20)
    assert assign.split(videos, seed=1) == assign.split(videos, seed=1)
    tests = {tuple(row.name for row in assign.split(videos, seed=seed).of("test")) for seed in range(10)}
    assert len(tests) == 10


@pytest.mark.parametrize("each", [1, 2])
def test_classes_of_too_few_videos_for_every_split_still_come_out_as_asked_together(each: int) -> None:
    assert sizes(assign.split(plain(100, each), (70, 10, 20))) == [70 * each, 10 * each, 20 * each]


@given(lists(), some_shares, seeds)
def test_no_group_is_ever_in_two_splits(videos: VideoList, shares: tuple, seed: int) -> None:
    done = assign.split(videos, shares, seed)
    assert groups_in_two_splits(done) == []
    assert [replace(row, split=("test",)) for row in done.rows] == list(videos.rows)


@given(lists(pure=True), some_shares, seeds)
def test_of_every_class_each_split_has_its_share_give_or_take_a_group(
    videos: VideoList, shares: tuple, seed: int
) -> None:
    done = assign.split(videos, shares, seed)
    percent = shares if len(shares) == 3 else (shares[0], 0, shares[1])
    for label in {row.label for row in videos.rows}:
        rows = [row for row in done.rows if row.label == label]
        largest = max(Counter(row.group or row.name for row in rows).values())
        wanted = [share * len(rows) / 100 for share in percent]
        found = [sum(row.split[0] == split for row in rows) for split in SPLITS]
        if all(each >= largest or each == 0 for each in wanted):
            assert all(abs(w - f) <= largest + 1e-6 for w, f in zip(wanted, found, strict=True))
        assert all(f <= w + largest for w, f in zip(wanted, found, strict=True))


@given(lists(pure=True), some_shares, seeds)
def test_a_class_with_a_group_for_every_split_has_videos_in_each(videos: VideoList, shares: tuple, seed: int) -> None:
    done = assign.split(videos, shares, seed)
    splits = {split for split, share in zip(SPLITS, shares if len(shares) == 3 else (1, 0, 1), strict=True) if share}
    for label in {row.label for row in videos.rows}:
        rows = [row for row in done.rows if row.label == label]
        if len({row.group or row.name for row in rows}) >= len(splits):
            assert {row.split[0] for row in rows} == splits


def test_people_who_show_every_class_are_shared_out_whole() -> None:
    rows = [Listed(f"{p:02d}/{c}/{n}", c, group=f"person {p}") for p in range(20) for c in range(10) for n in range(3)]
    videos = assign.split(a_list(rows), (70, 10, 20))
    assert sizes(videos) == [420, 60, 120]
    assert groups_in_two_splits(videos) == []
    assert assign.remarks(videos) == []


def test_two_names_for_one_content_are_never_on_both_sides() -> None:
    rows = [Listed(f"{n:02d}", 0, video=f"{n // 2:032x}") for n in range(40)]
    videos = assign.split(a_list(rows), (50, 50))
    where = defaultdict(set)
    for row in videos.rows:
        where[row.video].add(row.split)
    assert all(len(splits) == 1 for splits in where.values())


@given(lists(), st.integers(2, 3), seeds, st.randoms())
def test_the_order_of_rows_does_not_matter(videos: VideoList, k: int, seed: int, random) -> None:
    mixed = list(videos.rows)
    random.shuffle(mixed)
    assert assign.split(replace(videos, rows=tuple(mixed)), seed=seed) == assign.split(videos, seed=seed)
    assert assign.folds(replace(videos, rows=tuple(mixed)), k, seed) == assign.folds(videos, k, seed)


@given(lists(), seeds, st.booleans(), st.data())
def test_a_list_that_grows_or_shrinks_never_moves_a_video(
    videos: VideoList, seed: int, in_folds: bool, data: st.DataObject
) -> None:
    def assigned(some: VideoList, before: VideoList | None = None) -> VideoList:
        return assign.folds(some, 3, seed, before) if in_folds else assign.split(some, (70, 10, 20), seed, before)

    at_first = data.draw(st.lists(st.sampled_from(videos.rows), unique=True, min_size=1))
    if len({row.group or row.name for row in at_first}) < 3:
        return
    before = assigned(replace(videos, rows=tuple(sorted(at_first, key=lambda row: row.name))))
    after = assigned(videos, before)
    split_of = {row.name: row.split for row in after.rows}
    assert all(split_of[row.name] == row.split for row in before.rows)
    assert groups_in_two_splits(after) == []
    assert assign.grow(videos, before) == after
    assert assigned(before, after) == before


def test_new_videos_fill_up_the_shares() -> None:
    few, many = plain(2, 10), plain(2, 100)
    videos = assign.split(many, (70, 10, 20), before=assign.split(few, (70, 10, 20)))
    assert sizes(videos) == [140, 20, 40]


def test_a_new_video_goes_where_its_group_is_even_if_the_others_are_gone() -> None:
    before = assign.split(a_list([Listed(f"{n}", 0, group=f"g{n}") for n in range(9)]), (40, 60))
    new = assign.split(a_list([Listed(f"new {n}", 0, group=f"g{n}") for n in range(9)]), (40, 60), before=before)
    assert [row.split for row in new.rows] == [row.split for row in before.rows]


def test_a_video_is_known_by_its_content_whatever_it_is_called_now() -> None:
    rows = [Listed(f"{n:02d}", 0, video=f"{n:032x}") for n in range(20)]
    before = assign.split(a_list(rows), (50, 50))
    renamed = a_list([replace(row, name=f"{19 - n:02d}") for n, row in enumerate(rows)])
    split_of = {row.video: row.split for row in before.rows}
    assert all(split_of[row.video] == row.split for row in assign.split(renamed, (50, 50), before=before).rows)


def test_a_video_that_was_coded_anew_keeps_its_place_by_its_name() -> None:
    rows = [Listed(f"{n:02d}", 0, video=f"{n:032x}") for n in range(20)]
    before = assign.split(a_list(rows), (50, 50))
    anew = a_list([replace(row, video=f"{int(row.video, 16) + 100:032x}") for row in rows])
    assert [row.split for row in assign.split(anew, (50, 50), before=before).rows] == [r.split for r in before.rows]


def test_each_video_is_tested_in_one_fold_and_trained_on_in_the_others() -> None:
    videos = assign.folds(plain(3, 20), 5)
    assert all(Counter(row.split) == {"test": 1, "train": 4} for row in videos.rows)
    assert [sizes(videos, fold) for fold in range(1, 6)] == [[48, 0, 12]] * 5
    assert (videos.folds, videos.how) == (5, "5 folds by class, groups whole, seed 0")


@given(lists(), seeds)
def test_no_group_is_tested_in_two_folds(videos: VideoList, seed: int) -> None:
    assert groups_in_two_splits(assign.folds(videos, 3, seed)) == []


def test_classes_of_too_few_groups_are_told() -> None:
    rows = [Listed(f"a{n}", 0) for n in range(5)] + [Listed(f"b{n}", 1, group=f"{n % 2}") for n in range(4)]
    (said,) = assign.remarks(assign.folds(a_list(rows), 3))
    assert said.startswith("1 class has no videos in some split, for want of groups (class 1: no test in fold ")
    assert assign.remarks(assign.split(a_list(rows), (80, 20))) == []


def test_groups_that_came_together_after_they_were_placed_stay_and_are_told() -> None:
    before = assign.split(a_list([Listed(f"{n}", 0, group=f"g{n}") for n in range(4)]), (50, 50))
    joined = replace(before, how="", rows=tuple(replace(row, group="one", split=("test",)) for row in before.rows))
    after = assign.split(joined, (50, 50), before=before)
    assert [row.split for row in after.rows] == [row.split for row in before.rows]
    assert assign.remarks(after) == ["1 group stands in more than one split, as with 0"]


def test_videos_without_labels_are_shared_out_as_one_class() -> None:
    rows = tuple(Listed(f"{n:02d}", UNLABELLED) for n in range(10))
    assert sizes(assign.split(VideoList("x", rows, (), ()), (50, 10, 40))) == [5, 1, 4]


@pytest.mark.parametrize("split", [("train",), ("test", "train"), ("",)])
def test_a_list_with_splits_of_its_own_is_split_anew_only_if_that_is_said(split: tuple[str, ...]) -> None:
    videos = plain(2, 10)
    own = replace(videos, rows=tuple(replace(row, split=split) for row in videos.rows))
    for again in (lambda: assign.split(own), lambda: assign.folds(own, 2)):
        with pytest.raises(
            UsageError, match=r"mine has splits of its own .* leave out --split and --folds to use them"
        ):
            again()
    assert assign.split(own, over=True) == assign.split(videos)


def test_a_list_that_was_split_here_may_be_split_otherwise_but_not_as_its_next_version() -> None:
    videos = assign.split(plain(2, 10))
    assert assign.folds(videos, 2) == assign.folds(plain(2, 10), 2)
    with pytest.raises(UsageError) as caught:
        assign.split(plain(2, 10), (80, 20), before=videos)
    for said in ("70/10/20 by class", "80/0/20 by class", "--name"):
        assert said in str(caught.value)
    with pytest.raises(UsageError, match="asked for: 2 folds by class, groups whole, seed 1"):
        assign.folds(plain(2, 10), 2, seed=1, before=videos)


def test_an_earlier_version_that_was_not_split_holds_nothing() -> None:
    assert assign.split(plain(2, 10), before=plain(2, 5)) == assign.split(plain(2, 10))
    assert assign.grow(plain(2, 10), plain(2, 5)) == plain(2, 10)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ("70/10/10", "shares 70/10/10: expected a sum of 100, found 90"),
        ("100", "shares 100: expected three, such as 70/10/20, or two"),
        ("25/25/25/25", "expected three"),
        ("110/-10", "expected percents from 0 to 100"),
        ("nan/100", "expected percents from 0 to 100"),
        ("inf/-inf", "expected percents from 0 to 100"),
        ("70,30", "shares '70,30': expected percents such as 70/10/20"),
        ("\x1b[2J", r"shares '\\x1b\[2J': expected percents"),
    ],
)
def test_shares_that_cannot_be_say_why(shares: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        assign.read_shares(shares)


def test_shares_are_read_as_they_are_typed() -> None:
    assert assign.read_shares("70/10/20") == (70, 10, 20)
    assert assign.read_shares("87.5/12.5") == (87.5, 12.5)


def test_too_few_groups_for_the_splits_are_an_error() -> None:
    rows = [Listed(f"{n}", 0, group="one") for n in range(9)]
    with pytest.raises(UsageError, match="mine: 2 splits need as many groups of videos, but there are 1"):
        assign.split(a_list(rows), (80, 20))
    with pytest.raises(UsageError, match="mine: 10 folds need as many groups of videos, but there are 9"):
        assign.folds(plain(1, 9), 10)
    for k in (1, 0, 101, 10**9):
        with pytest.raises(UsageError, match="expected 2 to 100"):
            assign.folds(plain(1, 9), k)
