"""`plfeat extract --dataset k400` over an imitation of the official layout, with videos missing or broken: of 40
classes, and of all 400."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ENVIRONMENT

from plfeat.shards.store import open_store
from plfeat.video.digest import digest
from plfeat_cli.main import main

VERBS = "throwing catching cleaning folding opening painting pushing riding shaking tasting"
THINGS = (
    "apple ball boat bread brush cake car chair clock coat cup dog door drum fence flute glass goat guitar hat horse "
    "kite ladder lamp log map mirror nail oar paper pen piano plate pot rope rug sail shoe snow wall"
)
NAMES = [f"{verb} the {thing}" for verb in VERBS.split() for thing in THINGS.split()]


def _free_box(content: str) -> bytes:
    return (8 + len(content.encode())).to_bytes(4, "big") + b"free" + content.encode()


@dataclass(frozen=True)
class Imitation:
    root: Path
    classes: int
    missing: int
    broken: int

    @property
    def videos(self) -> int:
        return 3 * self.classes

    @property
    def distinct(self) -> int:
        """Some files are copies of others: the same videos, under other names."""
        return len({digest(path) for path in self.root.rglob("*_*_*.mp4") if "not_in_the_list" not in path.name})


@pytest.fixture(scope="module", params=[40, pytest.param(400, marks=pytest.mark.slow)])
def k400(request: pytest.FixtureRequest, toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Imitation:
    """`data/k400` in the owners' layout: CSVs, class folders with underscores in train, val flat."""
    root, names = tmp_path_factory.mktemp("data") / "k400", NAMES[:: 400 // request.param]
    films = sorted(toy_folder.rglob("*.mp4"))
    for split, each in (("train", 2), ("val", 1)):
        (root / split).mkdir(parents=True)
        with (root / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["label", "youtube_id", "time_start", "time_end", "split", "is_cc"])
            for label, name in enumerate(names):
                for number in range(each):
                    youtube = f"{'-_'[number]}{split[0]}{label:05}x_{number}y"
                    table.writerow([name, youtube, 7 * number, 7 * number + 10, split, 0])
                    folder = root / split / name.replace(" ", "_") if split == "train" else root / split
                    folder.mkdir(exist_ok=True)
                    film = films[(label * 3 + number) % len(films)]
                    path = folder / f"{youtube}_{7 * number:06}_{7 * number + 10:06}.mp4"
                    # a box that no player reads: no two files hold the same, or they would be one video
                    path.write_bytes(film.read_bytes() + _free_box(path.name))
    with (root / "test.csv").open("w", encoding="utf-8") as file:  # as published first: without labels
        file.write("youtube_id,time_start,time_end,split\nabcdefghijk,1,11,test\n")
    videos = sorted(root.rglob("*.mp4"))
    gone, cut = videos[5 :: len(videos) // 4], videos[7 :: len(videos) // 3]
    for video in gone:
        video.unlink()
    for video in cut:
        video.write_bytes(video.read_bytes()[:1000])
    videos[100].write_bytes(b"")
    shutil.copy(videos[0], root / "val" / "not_in_the_list_000001_000011.mp4")
    return Imitation(root, len(names), len(gone), len(cut) + 1)


def test_the_official_layout_is_extracted_and_what_is_missing_or_broken_is_named(
    k400: Imitation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLFEAT_DATA", str(k400.root.parent))
    monkeypatch.chdir(tmp_path)
    assert len(set(NAMES)) == 400
    bad = k400.missing + k400.broken
    assert (k400.missing, bad) == (4, 8)
    assert main(["extract", "--dataset", "k400", "--model", "toy"]) == 0
    out, err = capfd.readouterr()
    store = open_store(tmp_path / out.strip())
    listed = store.read_list("k400")
    assert len(listed.classes) == k400.classes
    assert [len(listed.of(split)) for split in ("train", "val")] == [2 * k400.classes, k400.classes]
    assert f"{k400.videos} videos, " in err
    assert f"{bad} failed ({k400.missing} of them missing)" in err
    assert "the file does not exist" in err
    assert "the file is empty" in err
    ledger = [json.loads(line) for line in (store.path / "ledger.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in ledger].count("find") == 4
    assert len([row for row in listed.rows if not row.video]) == 4
    assert listed.evaluation() == "val"


def test_checking_it_names_what_is_missing_and_unexpected_and_exits_3(
    k400: Imitation, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["datasets", "check", "k400", "--root", str(k400.root)]) == 3
    out, err = capfd.readouterr()
    assert "published" in out.splitlines()[0]
    assert "246245" in out
    assert "4 missing: " in err
    assert "1 unexpected: val/not_in_the_list_000001_000011.mp4" in err
    assert err.splitlines()[-1].startswith("plfeat: k400: 4 videos are missing and 1 are empty files")
    assert main(["datasets", "check", "k400", "--root", str(k400.root), "--json"]) == 3
    assert len(json.loads(capfd.readouterr().out)["missing"]) == 4


def test_a_dry_run_estimates_and_writes_nothing(
    k400: Imitation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    frames = 8 * k400.distinct
    command = [
        "extract",
        "--dataset",
        "k400",
        "--root",
        str(k400.root),
        "--model",
        "toy",
        "--dry-run",
        "--device",
        "cpu",
    ]
    assert main([*command, "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert (said["videos"], said["missing"]) == (k400.videos, k400.missing)
    assert (said["lacking"], said["frames"]) == (k400.distinct, frames)
    assert said["bytes"] == frames * 96 * 2
    decode, encode = k400.distinct / said["decode_videos"], frames / said["encode_frames"]
    assert said["limit"] == ("decode" if decode > encode else "encode")
    assert said["seconds"] == pytest.approx(decode + encode)  # on a CPU the two share the cores
    assert main(command) == 0
    out = capfd.readouterr().out
    assert f"{k400.videos:,} ({k400.missing} missing" in out
    assert f"{frames:,}" in out
    assert list(tmp_path.iterdir()) == []


def test_every_patch_is_refused_with_its_size_unless_one_insists(
    k400: Imitation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["extract", "--dataset", "k400", "--root", str(k400.root), "--model", "toy", "--quiet"]
    assert main([*command, "--tokens", "patch"]) == 2
    frames = 8 * k400.distinct
    size = frames * 2 * (96 + 16 * 128) / 1e6  # a feature, and 16 patches before the projection
    assert f"every patch of {frames:,} frames is {size:.3g} MB" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_weights_and_network_it_is_one_clear_line(small_folder: Path, tmp_path: Path) -> None:
    """The command as it stands in the README, on a machine that has nothing."""
    (tmp_path / "k400" / "val").mkdir(parents=True)
    (tmp_path / "k400" / "val.csv").write_text("label,youtube_id,time_start,time_end\nyoga,aaaaaaaaaaa,1,11\n")
    shutil.copy(next(small_folder.rglob("*.mp4")), tmp_path / "k400" / "val" / "aaaaaaaaaaa.mp4")
    nothing = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "PLFEAT_DATA": str(tmp_path)}
    command = [sys.executable, "-m", "plfeat_cli.main", "extract", "--dataset", "k400", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT | nothing, capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert f"weights 'openai' of ViT-B-16 are not in {tmp_path / 'hub'}" in done.stderr
    assert "--pretrained random:0" in done.stderr
    assert not (tmp_path / "cache").exists()
