"""Something-Something v2: templates to classes, numbers to files."""

import json
from pathlib import Path
from typing import Any

import pytest
from layouts import listed, paths, plant, write

from plfeat.datasets import READERS, Place
from plfeat.errors import DataError
from plfeat.records import VideoList

PUSH, DROP = "Pushing something from left to right", "Dropping something behind something"
LABELS = {PUSH: "1", DROP: "0"}
PUSHED = {"id": "78687", "label": "pushing a cup", "template": "Pushing [something] from left to right"}
DROPPED = {"id": "42326", "label": "x", "template": "Dropping [something] behind [something]", "placeholders": []}


def ssv2(folder: Path, *videos: str, prefix: str = "something-something-v2-", **files: Any) -> VideoList:
    plant(folder / "videos", "unrelated/other.webm", *videos)
    for name, content in {"labels": LABELS, **files}.items():
        write(folder / f"{prefix}{name}.json", content if isinstance(content, str) else json.dumps(content))
    return READERS["ssv2"](Place("ssv2", folder / "videos", folder))


@pytest.mark.parametrize("prefix", ["something-something-v2-", "", "labels/", "labels/something-something-v2-"])
def test_classes_come_by_number_and_read_as_templates(tmp_path: Path, prefix: str) -> None:
    dataset = ssv2(tmp_path, prefix=prefix, train=[PUSHED], validation=[DROPPED])
    assert dataset.words == (DROP.lower(), PUSH.lower())
    assert listed(dataset) == [("train", "78687", PUSH.lower()), ("val", "42326", DROP.lower())]


def test_the_test_json_has_no_labels_and_is_never_read(tmp_path: Path) -> None:
    dataset = ssv2(tmp_path, train=[PUSHED], test="not even JSON")
    assert dataset.splits() == ["train"]


@pytest.mark.parametrize("video", ["78687.webm", "78687.mp4", "20bn-something-something-v2/78687.webm"])
def test_a_video_is_found_by_its_number(tmp_path: Path, video: str) -> None:
    dataset = ssv2(tmp_path, video, train=[PUSHED])
    assert paths(dataset, tmp_path / "videos") == {"78687": video}


def test_a_video_that_is_not_there_is_listed_as_webm(tmp_path: Path) -> None:
    assert paths(ssv2(tmp_path, validation=[PUSHED]), tmp_path / "videos") == {"78687": "78687.webm"}


def test_numbers_may_be_numbers(tmp_path: Path) -> None:
    dataset = ssv2(tmp_path, labels={PUSH: 0, DROP: 1}, train=[PUSHED | {"id": 78687}])
    assert listed(dataset) == [("train", "78687", PUSH.lower())]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"train": "[\n{]"}, r"train.json:2: not JSON"),
        ({"train": "[" * 100_000}, r"train.json: .*nested too deep"),
        ({"train": {"id": 1}}, r"train.json: expected a list of records, found 'dict'"),
        ({"train": [PUSHED, "x"]}, r"train.json, record 2: expected an object"),
        ({"train": [PUSHED, {}]}, r"train.json, record 2: expected an id, which is a number, found ''"),
        ({"train": [DROPPED | {"id": "../7"}]}, r"record 1: expected an id, which is a number, found '../7'"),
        ({"train": [{"id": "1", "template": "Eating [something]"}]}, r"record 1: expected a template .* 'Eating \["),
        ({"train": [PUSHED], "validation": [PUSHED]}, r"validation.json, record 1: .* with another class or split"),
        ({"train": [PUSHED], "labels": [PUSH]}, r"labels.json: expected an object"),
        ({"train": [PUSHED], "labels": {PUSH: "0", DROP: "0"}}, r"labels.json, 'Dropping .* number of its own below 2"),
        ({"train": [PUSHED], "labels": {PUSH: "174"}}, r"labels.json, 'Pushing .* number of its own below 1"),
        ({"test": []}, r"no something-something-v2-train.json or train.json or something-something-v2-validation.json"),
    ],
)
def test_a_wrong_file_says_where_and_what(tmp_path: Path, files: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        ssv2(tmp_path, **files)


def test_the_labels_are_needed(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    with pytest.raises(DataError, match=r"ssv2: no something-something-v2-labels.json or labels.json"):
        READERS["ssv2"](Place("ssv2", tmp_path / "videos", tmp_path))
