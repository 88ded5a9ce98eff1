"""What is made for a list: takes, and chunks that are the same whenever they are cut."""

from typing import Any

import pytest

from plfeat.config import SampleConfig
from plfeat.extract.plan import Chunk, cut, frames_of, rest_of, takes_for, takes_of, wanted
from plfeat.recipe import Take
from plfeat.records import Listed, VideoList

CENTRE = Take()


def listed(*rows: tuple[str, tuple[str, ...]]) -> VideoList:
    found = tuple(Listed(f"{n}", 0, split, video=video) for n, (video, split) in enumerate(rows))
    return VideoList("mine", found, ("a",), ("a",))


def names(**sample: Any) -> dict[str, list[str]]:
    takes = takes_of(SampleConfig(**sample), "flip", ("pre",))
    return {of: [take.name for take in mine] for of, mine in takes.items()}


def test_every_video_has_a_centre_and_views_are_beside_it() -> None:
    assert names(frames=4) == {of: ["centre-4", "centre-4.pre"] for of in ("train", "other")}
    assert names(views=2, test_views=3, every=2) == {
        "train": [
            name + output
            for name in ("centre-8", "random-8-seed0-view0-flip", "random-8-seed0-view1-flip", "dense-every2-cap512")
            for output in ("", ".pre")
        ],
        "other": [
            name + output
            for name in ("centre-8", *(f"random-8-seed0-view{view}" for view in range(3)), "dense-every2-cap512")
            for output in ("", ".pre")
        ],
    }


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        (("train",), "T"),
        (("test",), "O"),
        (("train", "", "train"), "T"),
        (("test", "train", "train"), "TO"),
        (("",), "O"),
    ],
)
def test_a_video_that_some_fold_trains_on_and_another_tests_on_has_the_takes_of_both(
    split: tuple[str, ...], expected: str
) -> None:
    takes = {"train": (CENTRE, Take("random")), "other": (CENTRE, Take("random", view=1))}
    found = takes_for(Listed("a", 0, split), takes)
    assert (takes["train"][1] in found, takes["other"][1] in found) == ("T" in expected, "O" in expected)
    assert found.count(CENTRE) == 1


def test_a_video_that_is_listed_twice_is_made_once() -> None:
    takes = {"train": (CENTRE, Take("random")), "other": (CENTRE,)}
    want = wanted(listed(("b", ("test",)), ("a", ("train",)), ("b", ("train",)), ("", ("train",))), takes)
    assert want == {"a": takes["train"], "b": takes["train"]}


def test_chunks_have_about_so_many_frames_and_never_very_few_videos() -> None:
    want = {f"{n:03}": (CENTRE,) for n in range(100)}
    assert [len(chunk.takes) for chunk in cut(want, None, 256)] == [32, 32, 32, 4]
    assert [len(chunk.takes) for chunk in cut(want, 40, 256)] == [40, 40, 20]
    many = {key: tuple(Take("random", view=view) for view in range(20)) for key in want}
    assert {len(chunk.takes) for chunk in cut(many, None, 256)} == {8, 4}


def test_what_is_there_is_taken_out_of_the_chunks_and_moves_none_of_them() -> None:
    want = {f"{n:03}": (CENTRE,) for n in range(100)}
    chunks = cut(want, 10, 256)
    lacks = {key: takes for key, takes in want.items() if key >= "035"}
    assert rest_of(chunks, lacks) == [Chunk({f"{n:03}": (CENTRE,) for n in range(35, 40)}), *chunks[4:]]


def test_takes_of_one_look_are_decoded_once() -> None:
    assert frames_of([CENTRE, Take(output="pre"), Take("random", 4)]) == 12
