"""Kinetics-400 and Mini-Kinetics-200: the owners' CSVs, and copies on disk of every kind."""

import csv
import random
from pathlib import Path

import pytest
from layouts import listed, paths, plant, write

from plfeat.datasets import READERS, Place
from plfeat.errors import DataError
from plfeat.records import VideoList

HEADER = "label,youtube_id,time_start,time_end,split\n"
CLIP = "-_a_bc123-_"  # ids may begin with either sign and hold both
STEM = f"{CLIP}_000007_000017"


def read(folder: Path, name: str = "k400") -> VideoList:
    return READERS[name](Place(name, folder / "videos", folder / "lists"))


def k400(folder: Path, *videos: str, train: str = "", val: str = "") -> VideoList:
    plant(folder / "videos", "unrelated/other.mp4", *videos)
    for split, rows in (("train", train), ("val", val)):
        write(folder / "lists" / f"{split}.csv", HEADER + rows)
    return read(folder)


def test_the_split_is_the_files_and_classes_are_sorted_over_all(tmp_path: Path) -> None:
    dataset = k400(
        tmp_path,
        train='"shooting goal (soccer)",ccccccccccc,3,13,train\n',
        val='"massaging person\'s head",bbbbbbbbbbb,0,10,val\n"cooking, or so",aaaaaaaaaaa,100,110,validate\n',
    )
    assert listed(dataset) == [
        ("train", "ccccccccccc_000003_000013", "shooting goal (soccer)"),
        ("val", "aaaaaaaaaaa_000100_000110", "cooking, or so"),
        ("val", "bbbbbbbbbbb_000000_000010", "massaging person's head"),
    ]
    assert dataset.classes == ("cooking, or so", "massaging person's head", "shooting goal (soccer)")


@pytest.mark.parametrize(
    "video",
    [
        f"train/tai chi/{STEM}.mp4",
        f"train/tai_chi/{STEM}.mkv",
        f"train/{STEM}.webm",
        f"kinetics_400_train/tai chi/{STEM}.MP4",
        f"train_256/tai_chi/{STEM}.mp4",
        f"tai chi/{STEM}.avi",
        f"{STEM}.mp4",
        f"train/tai chi/{CLIP}.mp4",
        f"{CLIP}.mkv",
    ],
)
def test_a_clip_is_found_in_every_layout_and_keeps_its_name(tmp_path: Path, video: str) -> None:
    dataset = k400(tmp_path, video, train=f"tai chi,{CLIP},7,17,train\n")
    assert paths(dataset, tmp_path / "videos") == {STEM: video}


def test_a_clip_that_is_not_there_is_listed_where_it_belongs(tmp_path: Path) -> None:
    dataset = k400(tmp_path, val=f"tai chi,{CLIP},7,17,val\n")
    assert paths(dataset, tmp_path / "videos") == {STEM: f"val/tai chi/{STEM}.mp4"}


@pytest.mark.parametrize(
    ("copies", "best"),
    [
        (["train/tai chi", "val/tai_chi"], "val/tai_chi"),
        (["a/tai chi", "validate/other"], "validate/other"),
        (["val/other", "val/tai chi"], "val/tai chi"),
        (["a/other", "b/tai_chi"], "b/tai_chi"),
        (["b", "a", "c"], "a"),
    ],
)
def test_of_copies_the_right_split_wins_then_the_right_class_then_the_order(
    tmp_path: Path, copies: list[str], best: str
) -> None:
    videos = [f"{folder}/{STEM}.mp4" for folder in copies]
    dataset = k400(tmp_path, *videos, val=f"tai chi,{CLIP},7,17,val\n")
    assert paths(dataset, tmp_path / "videos") == {STEM: f"{best}/{STEM}.mp4"}


def test_of_two_suffixes_the_first_wins_and_a_trimmed_name_beats_a_bare_id(tmp_path: Path) -> None:
    dataset = k400(tmp_path, f"{STEM}.mp4", f"{STEM}.mkv", f"{CLIP}.avi", val=f"tai chi,{CLIP},7,17,val\n")
    assert paths(dataset, tmp_path / "videos") == {STEM: f"{STEM}.mkv"}


@pytest.mark.parametrize(
    "name",
    ["val.csv", "validate.csv", "kinetics_400_val.csv", "kinetics400/validate.csv", "annotations/kinetics_400_val.csv"],
)
def test_the_csv_may_have_every_name_that_owners_and_copies_give_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "videos").mkdir()
    write(
        tmp_path / "lists" / name, "label,youtube_id,time_start,time_end,split,is_cc\ntai chi,aaaaaaaaaaa,1,11,val,0\n"
    )
    assert [row.name for row in read(tmp_path).rows] == ["aaaaaaaaaaa_000001_000011"]


def test_a_test_csv_counts_if_it_has_labels_and_is_skipped_if_not(tmp_path: Path) -> None:
    k400(tmp_path, train="tai chi,aaaaaaaaaaa,1,11,train\n")
    test = tmp_path / "lists" / "test.csv"
    write(test, "youtube_id,time_start,time_end,split\nbbbbbbbbbbb,1,11,test\n")
    assert read(tmp_path).splits() == ["train"]
    write(test, HEADER + ",bbbbbbbbbbb,1,11,test\n")
    assert read(tmp_path).splits() == ["train"]
    write(test, HEADER + "yoga,bbbbbbbbbbb,1,11,test\n")
    assert listed(read(tmp_path))[1:] == [("test", "bbbbbbbbbbb_000001_000011", "yoga")]


def test_the_same_line_twice_counts_once_because_nobody_should_edit_owners_lists(tmp_path: Path) -> None:
    assert len(k400(tmp_path, train="tai chi,aaaaaaaaaaa,1,11,train\n" * 2).rows) == 1


def test_a_line_that_contradicts_another_names_both(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train.csv:3: .*aaa_000001_000011' stands with another .* at .*train.csv:2"):
        k400(tmp_path, train="tai chi,aaaaaaaaaaa,1,11,train\nyoga,aaaaaaaaaaa,1,11,train\n")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (",aaaaaaaaaaa,1,11,train", "expected a label"),
        ("yoga,../secret,1,11,train", "expected a YouTube id, found '../secret'"),
        ("yoga,aaaaaaaaaaa,soon,11,train", "expected whole seconds, found 'soon'"),
        ("yoga,aaaaaaaaaaa,1,11.5,train", "expected whole seconds, found '11.5'"),
        ("yoga,aaaaaaaaaaa,-1,11,train", "expected whole seconds, found '-1'"),
        ("yoga,aaaaaaaaaaa,1,11,validate", "expected the split train, as the file's name says, found 'val'"),
        ("yoga,aaaaaaaaaaa,1,11", "expected 5 cells"),
        ('"yoga"x,aaaaaaaaaaa,1,11,train', "not a row of a CSV file"),
    ],
)
def test_a_wrong_row_names_file_line_expected_and_found(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(DataError, match=f"train.csv:3: .*{said}"):
        k400(tmp_path, train=f"tai chi,bbbbbbbbbbb,0,10.0,train\n{row}\n")


def test_a_train_csv_without_labels_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    write(tmp_path / "lists" / "train.csv", "youtube_id,time_start,time_end\naaaaaaaaaaa,1,11\n")
    with pytest.raises(DataError, match=r"train.csv:1: expected a header with the columns label,"):
        read(tmp_path)


def test_without_train_and_val_the_error_names_all_that_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    write(tmp_path / "lists" / "test.csv", HEADER)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    for said in ("train.csv", "kinetics_400_train.csv", "val.csv", "validate.csv", "annotations", "kinetics400"):
        assert said in str(caught.value)


def test_twenty_thousand_lines_of_four_hundred_classes_are_read_whole(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = [(f"doing thing {i % 400}", f"{i:08d}-_{draw.choice('abc')}", i % 300, i % 300 + 10) for i in range(20_000)]
    (tmp_path / "lists").mkdir()
    with (tmp_path / "lists" / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER.strip().split(","), *((*row, "train") for row in rows)])
    there = [f"train/{c.replace(' ', '_')}/{y}_{s:06d}_{e:06d}.mp4" for c, y, s, e in rows[::100]]
    plant(tmp_path / "videos", *there)
    dataset = read(tmp_path)
    assert (len(dataset.classes), len(dataset.rows)) == (400, 20_000)
    assert sum(row.path.exists() for row in dataset.rows) == 200


def mini(folder: Path, train_ids: str, val_ids: str = "") -> VideoList:
    k400(
        folder,
        "train/yoga/aaaaaaaaaaa_000001_000011.mp4",
        train="yoga,aaaaaaaaaaa,1,11,train\ntai chi,bbbbbbbbbbb,2,12,train\nskiing,ccccccccccc,3,13,train\n",
        val="tai chi,ddddddddddd,4,14,val\n",
    )
    write(folder / "lists" / "train_ytid_list.txt", train_ids)
    write(folder / "lists" / "Mini-Kinetics-200" / "val_ytid_list.txt", val_ids)
    return read(folder, "mini-k200")


def test_mini_kinetics_is_the_listed_ids_with_their_classes_only(tmp_path: Path) -> None:
    dataset = mini(tmp_path, "aaaaaaaaaaa\nbbbbbbbbbbb\n", "ddddddddddd\n")
    assert listed(dataset) == [
        ("train", "aaaaaaaaaaa_000001_000011", "yoga"),
        ("train", "bbbbbbbbbbb_000002_000012", "tai chi"),
        ("val", "ddddddddddd_000004_000014", "tai chi"),
    ]
    assert dataset.classes == ("tai chi", "yoga")
    assert dataset.rows[0].path == tmp_path / "videos/train/yoga/aaaaaaaaaaa_000001_000011.mp4"


def test_the_split_of_mini_kinetics_is_its_own_and_the_folder_k400s(tmp_path: Path) -> None:
    dataset = mini(tmp_path, "bbbbbbbbbbb\n", "aaaaaaaaaaa\n")
    assert paths(dataset, tmp_path / "videos") == {
        "bbbbbbbbbbb_000002_000012": "train/tai chi/bbbbbbbbbbb_000002_000012.mp4",
        "aaaaaaaaaaa_000001_000011": "train/yoga/aaaaaaaaaaa_000001_000011.mp4",
    }


def test_an_id_in_both_csvs_is_the_clip_of_the_same_split(tmp_path: Path) -> None:
    mini(tmp_path, "ddddddddddd\n")
    write(tmp_path / "lists" / "train.csv", HEADER + "yoga,ddddddddddd,50,60,train\n")
    assert [row.name for row in read(tmp_path, "mini-k200").rows] == ["ddddddddddd_000050_000060"]


def test_a_few_ids_that_died_are_left_out(tmp_path: Path) -> None:
    assert len(mini(tmp_path, "aaaaaaaaaaa\nbbbbbbbbbbb\nxxxxxxxxxxx\n").rows) == 2


def test_mostly_unknown_ids_are_an_error_that_counts_them(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"train_ytid_list.txt: 2 of 3 ids are in none .* example xxxxxxxxxxx, yyyyyyyyyyy"
    ):
        mini(tmp_path, "xxxxxxxxxxx\naaaaaaaaaaa\nyyyyyyyyyyy\n")


def test_mini_kinetics_needs_its_lists(tmp_path: Path) -> None:
    k400(tmp_path, train="yoga,aaaaaaaaaaa,1,11,train\n")
    with pytest.raises(DataError, match=r"mini-k200: no train_ytid_list.txt or val_ytid_list.txt in "):
        read(tmp_path, "mini-k200")


def test_clips_of_a_youtube_id_are_a_group(tmp_path: Path) -> None:
    videos = k400(tmp_path, train=f"tai chi,{CLIP},7,17,train\nyoga,{CLIP},20,30,train\nyoga,aaaaaaaaaaa,1,11,train\n")
    assert [row.group for row in videos.rows] == [CLIP, CLIP, "aaaaaaaaaaa"]


def test_a_clip_that_the_owners_list_in_two_splits_is_called_after_each(tmp_path: Path) -> None:
    videos = k400(tmp_path, train=f"tai chi,{CLIP},7,17,train\n", val=f"tai chi,{CLIP},7,17,val\nyoga,x,1,2,val\n")
    assert [(row.name, row.split[0]) for row in videos.rows] == [
        (f"train/{STEM}", "train"),
        (f"val/{STEM}", "val"),
        ("x_000001_000002", "val"),
    ]


def test_a_clip_is_called_the_same_in_both_lists(tmp_path: Path) -> None:
    assert {row.name for row in mini(tmp_path, "bbbbbbbbbbb\n", "aaaaaaaaaaa\n").rows} < {
        row.name for row in read(tmp_path).rows
    }


def test_without_the_folder_clips_are_where_a_store_has_seen_them(tmp_path: Path) -> None:
    write(tmp_path / "lists" / "train.csv", f"{HEADER}tai chi,{CLIP},7,17,train\nyoga,aaaaaaaaaaa,1,11,train\n")
    seen = (f"train/other/{STEM}.mp4", f"train/tai_chi/{STEM}.mkv", "aaaaaaaaaaa.webm")
    videos = READERS["k400"](Place("k400", tmp_path / "gone", tmp_path / "lists", seen=seen))
    assert paths(videos, tmp_path / "gone") == {STEM: seen[1], "aaaaaaaaaaa_000001_000011": seen[2]}
