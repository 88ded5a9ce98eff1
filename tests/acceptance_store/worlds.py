"""What the acceptance tests of the store share: imitations of datasets made of toy videos, the commands as a user types
them, and a reader of what lies on disk that knows nothing but the page that describes the format.

Nothing here imports the library.
"""

import atexit
import csv
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

HOME = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{HOME}:{HOME / 'cli'}", "OMP_NUM_THREADS": "1"}
KEY = re.compile(r"^[0-9a-f]{32}(#t=[0-9.e+-]+,[0-9.e+-]*)?$")
"""How a video is called in a store."""


class Said(Protocol):
    code: int
    out: str
    err: str


Plfeat = Callable[..., Said]


# --------------------------------------------------------------------------------------------------- videos and layouts


@cache
def films() -> tuple[Path, ...]:
    """240 toy videos, no two alike, ten of each class one after the other. Copy them, do not change them."""
    folder = Path(tempfile.mkdtemp(prefix="plfeat-acceptance-"))
    atexit.register(shutil.rmtree, folder, True)
    command = [sys.executable, "-m", "plfeat_cli.main", "datasets", "make", "toy", "--out", str(folder / "toy")]
    done = subprocess.run([*command, "--videos", "240", "--seed", "5", "--quiet"], env=ENVIRONMENT, capture_output=True)
    assert done.returncode == 0, done.stderr
    found = sorted(
        (folder / "toy").rglob("*.mp4"), key=lambda path: (path.parent.name, path.parent.parent.name, path.name)
    )
    assert len({path.read_bytes() for path in found}) == len(found) == 240
    return tuple(found)


def names() -> list[str]:
    """The toy classes, in the order of `films`."""
    return list(dict.fromkeys(path.parent.name for path in films()))


def film(kind: int, number: int) -> Path:
    """The `number`th of ten videos of the `kind`th of 24 classes."""
    assert 0 <= number < 10
    return films()[10 * kind + number]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def put(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target


@dataclass(frozen=True)
class World:
    """An imitation of a dataset: its videos in one folder, its annotation in another, so that one can go."""

    dataset: str
    videos: Path
    lists: Path
    count: int

    @property
    def asked(self) -> list[str]:
        """The options that name it."""
        return ["--dataset", self.dataset, "--root", str(self.videos), "--lists", str(self.lists)]

    def lose(self) -> None:
        """The videos are gone: whoever still wants to decode one finds nothing."""
        shutil.rmtree(self.videos)


def camel(words: str) -> str:
    return "".join(word.capitalize() for word in words.split())


def ucf101(folder: Path, classes: int = 4, groups: int = 6) -> World:
    """One clip of each group of each class. Fold k tests on the groups k, k + 3, …, as wholes."""
    videos, lists = folder / "UCF-101", folder / "ucf" / "ucfTrainTestlist"
    kinds = [camel(name) for name in names()[:classes]]
    write(lists / "classInd.txt", "".join(f"{place} {kind}\n" for place, kind in enumerate(kinds, 1)))
    train: list[list[str]] = [[], [], []]
    test: list[list[str]] = [[], [], []]
    for place, kind in enumerate(kinds):
        for group in range(1, groups + 1):
            name = f"{kind}/v_{kind}_g{group:02}_c01"
            put(film(place, group - 1), videos / f"{name}.mp4")
            for fold in range(3):
                if (group - 1) % 3 == fold:
                    test[fold].append(f"{name}.avi")
                else:
                    train[fold].append(f"{name}.avi {place + 1}")
    for fold in range(3):
        write(lists / f"trainlist0{fold + 1}.txt", "\n".join(train[fold]) + "\n")
        write(lists / f"testlist0{fold + 1}.txt", "\n".join(test[fold]) + "\n")
    return World("ucf101", videos, folder / "ucf", classes * groups)


def hmdb51(folder: Path, classes: int = 3, sources: int = 3) -> World:
    """Two clips of each source film of each class; fold k tests on the k-th source, the rest is to train on."""
    videos, lists = folder / "hmdb51", folder / "hmdb51_lists" / "testTrainMulti_7030_splits"
    for place, words in enumerate(names()[:classes]):
        kind = words.replace(" ", "_")
        lines: list[list[str]] = [[], [], []]
        for source in range(sources):
            for clip in range(2):
                name = f"{('Faceoff', 'Mr._Bean', '50_FIRST_DATES')[source]}_{kind}_u_cm_np1_fr_med_{clip}"
                put(film(place, 2 * source + clip), videos / kind / f"{name}.mp4")
                for fold in range(3):
                    lines[fold].append(f"{name}.avi {2 if source == fold else 1}")
        for fold in range(3):
            write(lists / f"{kind}_test_split{fold + 1}.txt", " \n".join(lines[fold]) + " \n")
    return World("hmdb51", videos, folder / "hmdb51_lists", classes * sources * 2)


CSV = "label,youtube_id,time_start,time_end,split,is_cc\n"


def youtube(kind: int, number: int) -> str:
    return f"-y{kind:03}_{number:02}xyz"[:11].ljust(11, "z")


def k400(folder: Path, classes: int = 6, train: int = 4, val: int = 2) -> World:
    """Owners' CSVs and `<split>/<class>/<id>_000001_000011.mp4`."""
    videos, lists = folder / "k400", folder / "k400_lists"
    rows = {"train": "", "val": ""}
    for place, name in enumerate(names()[:classes]):
        for number in range(train + val):
            split = "train" if number < train else "val"
            clip = youtube(place, number)
            rows[split] += f"{name},{clip},1,11,{split},0\n"
            put(film(place, number), videos / split / name.replace(" ", "_") / f"{clip}_000001_000011.mp4")
    for split, lines in rows.items():
        write(lists / f"{split}.csv", CSV + lines)
    return World("k400", videos, lists, classes * (train + val))


def mini_k200(k400: World, folder: Path, classes: int = 3, train: int = 3, val: int = 1, first_val: int = 4) -> World:
    """Lists of ids over K400's CSVs and videos: a subset of both."""
    lists = folder / "mini_lists"
    shutil.copytree(k400.lists, lists)
    for split, first, count in (("train", 0, train), ("val", first_val, val)):
        ids = [youtube(place, first + number) for place in range(classes) for number in range(count)]
        write(lists / f"{split}_ytid_list.txt", "\n".join(ids) + "\n")
    return World("mini-k200", k400.videos, lists, classes * (train + val))


def kinetics100(k400: World, folder: Path) -> World:
    """Lists as the few-shot papers publish them: classes that no two splits share, over K400's videos."""
    lists, count = folder / "kinetics100", 0
    for split, kinds in (("train", (0, 1, 2)), ("val", (3,)), ("test", (4, 5))):
        lines = []
        for label, place in enumerate(kinds):
            for number in range(4):
                kind = names()[place].replace(" ", "_")
                lines.append(f"{split}{label}//train_256/{kind}/{youtube(place, number)}_000001_000011.mp4")
        write(lists / f"{split}_few_shot.txt", "\n".join(lines) + "\n")
        count += len(lines)
    return World("few-shot", k400.videos, lists, count)


def unsplit(folder: Path, classes: int = 4, each: int = 9) -> Path:
    """`<class>/<video>`, and nothing that says what is to be trained on."""
    for place, name in enumerate(names()[:classes]):
        for number in range(each):
            put(film(place, number), folder / name / f"clip {number}.mp4")
    return folder


def with_splits(folder: Path, classes: int = 4, train: int = 3, test: int = 2) -> Path:
    """`train|test/<class>/<video>`."""
    for place, name in enumerate(names()[:classes]):
        for number in range(train + test):
            split = "train" if number < train else "test"
            put(film(place, number), folder / split / name / f"clip{number}.mp4")
    return folder


def table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A CSV with the columns of the first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def resize(content: bytes, size: int) -> bytes:
    """The same film in a larger file: an empty box at the end, which every player skips."""
    room = size - len(content)
    assert room >= 8, "choose a smaller film"
    return content + struct.pack(">I4s", room, b"free") + bytes(room - 8)


def replace_by_another_of_the_same_size(video: Path, among: Sequence[Path]) -> None:
    """Another film, as long as the old one to a byte; written later, as files are."""
    size = video.stat().st_size
    other = next(path for path in among if path.stat().st_size <= size - 8)
    before = video.stat()
    video.write_bytes(resize(other.read_bytes(), size))
    assert video.stat().st_size == size
    os.utime(video, ns=(before.st_atime_ns, before.st_mtime_ns + 5_000_000_000))


def spoil(video: Path) -> None:
    """What it shows is gone, while its path, size and time stay: whoever decodes it fails, whoever knows it does not
    look again."""
    before = video.stat()
    with video.open("r+b") as file:
        file.write(b"\0" * before.st_size)
    os.utime(video, ns=(before.st_atime_ns, before.st_mtime_ns))


# ------------------------------------------------------------------------------------------------------------ commands

MODEL = ("--model", "toy")
ONE_EPOCH = ("--set", "optim.epochs=1", "--set", "seeds=[0]")


def extract(plfeat: Plfeat, cache: Path, *asked: str, model: Sequence[str] = MODEL) -> dict[str, Any]:
    """What `extract --json` says."""
    said = plfeat("extract", *asked, *model, "--cache", str(cache), "--workers", "1", "--json", "--quiet")
    assert said.code == 0, said.err
    return counted(json.loads(said.out))


def counted(said: dict[str, Any]) -> dict[str, Any]:
    """The four counts are there, whole numbers, and add up."""
    for name in ("videos", "decoded", "reused", "failed"):
        assert type(said.get(name)) is int, f"--json of extract does not say {name}: {said}"
    return said


def train(plfeat: Plfeat, cache: Path, out: Path, *asked: str, preset: str = "nearest-mean") -> list[dict[str, Any]]:
    """The rows that `train --frozen --json` says."""
    few = ONE_EPOCH if preset == "prompts" else ()
    command = ["train", "--frozen", "--preset", preset, *few, "--cache", str(cache), "--out", str(out), *asked]
    said = plfeat(*command, "--json", "--quiet")
    assert said.code == 0, said.err
    rows: list[dict[str, Any]] = json.loads(said.out)["rows"]
    return rows


def report(plfeat: Plfeat, out: Path, *runs: Path) -> list[dict[str, Any]]:
    said = plfeat("report", *map(str, runs), "--out", str(out), "--json", "--quiet")
    assert said.code == 0, said.err
    rows: list[dict[str, Any]] = json.loads(said.out)["rows"]
    return rows


def records(out: Path) -> dict[str, dict[str, Any]]:
    """Every run's record, by its folder under `out`."""
    return {
        path.parent.relative_to(out).as_posix(): json.loads(path.read_text())
        for path in sorted(out.rglob("record.json"))
    }


def figures(value: Any) -> list[float]:
    """All numbers in a document, however deep."""
    if isinstance(value, dict):
        return [number for inner in value.values() for number in figures(inner)]
    if isinstance(value, list):
        return [number for inner in value for number in figures(inner)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def clean(said: Said) -> None:
    """Nobody's traceback, and nothing that a terminal would obey."""
    for text in (said.out, said.err):
        assert "Traceback" not in text, text[-3000:]
        found = CONTROL.search(text)
        assert not found, f"a raw control character {found[0]!r} in {text[:2000]!r}"


def refused(said: Said, *words: str, codes: tuple[int, ...] = (3, 4)) -> str:
    """One clear line, and the exit code of data or of a store; returns the line. Ask with --quiet, so that there are
    no remarks beside it."""
    clean(said)
    assert said.code in codes, f"exit {said.code}: out {said.out[-500:]!r} err {said.err[-1500:]!r}"
    lines = said.err.splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("plfeat: "), lines[0]
    assert len(lines[0]) < 2000, "one line, not a page"
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]


@dataclass(frozen=True)
class Done:
    """What a process said, and the most memory it ever held."""

    code: int
    out: str
    err: str
    peak: int = 0


def process(*arguments: str, cwd: Path | None = None, limit: float = 300, **variables: str) -> Done:
    """The command as a process of its own."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        run = subprocess.Popen(
            [sys.executable, "-m", "plfeat_cli.main", *arguments],
            cwd=cwd,
            env=ENVIRONMENT | variables,
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
        )
        deadline, peak = time.monotonic() + limit, 0
        while run.poll() is None:
            peak = max(peak, most_memory(run.pid))
            if time.monotonic() > deadline:
                run.kill()
                run.wait()
                raise AssertionError(f"{arguments} took more than {limit} seconds")
            time.sleep(0.02)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "backslashreplace"))
    return Done(run.returncode, *texts, peak=peak)


def most_memory(pid: int) -> int:
    """The most bytes that a process has held since it began (what `wait4` says counts its parent's as well)."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """An error instead of waiting for ever, as on a pipe that nobody writes to."""

    def ring(*_: object) -> None:
        raise AssertionError(f"still waiting after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


NEWER_AV = """
import importlib.abc, importlib.util, sys
class Newer(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "av.about" else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        module.__version__ = "99.0.0"
sys.meta_path.insert(0, Newer())
"""
NO_NETWORK = """
import socket
def refuse(self, address, *rest):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        raise OSError(f"there is no network, and something wanted {address}")
    return connect(self, address, *rest)
connect = socket.socket.connect
socket.socket.connect = refuse
def unknown(*_, **__):
    raise socket.gaierror("there is no network")
socket.getaddrinfo = unknown
"""


def pretending(folder: Path, code: str, av: str = "") -> dict[str, str]:
    """The variables with which a process, and whoever it starts, runs `code` first; and finds another version of av
    installed, whichever way it asks."""
    write(folder / "sitecustomize.py", code)
    if av:
        write(folder / f"av-{av}.dist-info" / "METADATA", f"Metadata-Version: 2.1\nName: av\nVersion: {av}\n")
    return {"PYTHONPATH": f"{folder}:{ENVIRONMENT['PYTHONPATH']}"}


# -------------------------------------------------------------------------------------------------------- what is there


def stores(cache: Path) -> list[Path]:
    return sorted(path.parent for path in cache.rglob("recipe.json"))


def store(cache: Path) -> Path:
    (one,) = stores(cache)
    return one


def manifest(store: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((store / "manifest.json").read_text(encoding="utf-8"))
    return content


def text(value: Any) -> str:
    """A text of an HDF5 file, as an attribute or in a dataset: h5py gives bytes where its length is fixed."""
    return value.decode() if isinstance(value, bytes) else str(value)


@dataclass(frozen=True)
class Bits:
    """What a store holds of one video in one take."""

    status: int
    features: bytes
    frames: bytes


def bits(store: Path) -> dict[tuple[str, str], Bits]:
    """Of every (take, video); where it stands in several shards, what they hold of it is the same."""
    found: dict[tuple[str, str], Bits] = {}
    for path in sorted((store / "shards").glob("*.h5")):
        with h5py.File(path) as file:
            take = text(file.attrs["take"])
            rows, frames = np.asarray(file["features"]), np.asarray(file["frame_index"])
            pointers, status = np.asarray(file["video_ptr"]), np.asarray(file["status"])
            for place, key in enumerate(np.asarray(file["video"])):
                here = slice(int(pointers[place]), int(pointers[place + 1]))
                video = text(key)
                assert KEY.match(video), video
                one = Bits(int(status[place]), rows[here].tobytes(), frames[here].tobytes())
                before = found.get((take, video))
                if before is not None and before.features and one.features:
                    assert before == one, f"two shards differ in {take} of {video}"
                if before is None or not before.features:
                    found[take, video] = one
    return found


def takes(store: Path) -> Counter[str]:
    """How many videos have features of each take."""
    return Counter(take for (take, _), held in bits(store).items() if held.features)


def rows(store: Path, name: str | None = None) -> list[dict[str, str]]:
    """The lines of a list's newest version; of the only list, if none is named."""
    lists = manifest(store)["lists"]
    if name is None:
        (name,) = lists
    path = store / "lists" / f"{name}@{lists[name]['hash'][:8]}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        assert file.readline().startswith("# {")
        return list(csv.DictReader(file))


def assigned(store: Path, name: str | None = None) -> dict[str, tuple[str, ...]]:
    """The split of every video, in every fold."""
    return {
        row["name"]: tuple(value for column, value in row.items() if re.fullmatch(r"split\d*", column))
        for row in rows(store, name)
    }


def shards(store: Path, *beginnings: str) -> dict[str, bytes]:
    """The files as they are, of the takes whose names begin so."""
    wanted = beginnings or ("",)
    return {
        path.name: path.read_bytes() for path in sorted((store / "shards").iterdir()) if path.name.startswith(wanted)
    }


def snapshot(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Everything under a folder: kind, size, time and content. Two are equal if nobody touched anything between."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        if path.is_symlink():
            found[str(path)] = ("link", os.readlink(path))
        elif path.is_file():
            found[str(path)] = ("file", state.st_size, state.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        else:
            found[str(path)] = ("folder", oct(state.st_mode))
    return found


_opened: list[str] | None = None


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is not None and event == "open" and isinstance(arguments[0], str | bytes):
        _opened.append(os.fsdecode(arguments[0]))


@cache
def _install_listener() -> None:
    sys.addaudithook(_listen)


@contextmanager
def opened() -> Iterator[list[str]]:
    """The paths that Python opens in this process (not those that the HDF5 library opens by itself)."""
    global _opened
    _install_listener()
    _opened = here = []
    try:
        yield here
    finally:
        _opened = None
