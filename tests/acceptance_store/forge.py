"""A sound store to forge, and the tools of a forger: one who rewrites whatever is easily rewritten so that it fits what
was changed, and learns the hashes from what the program says."""

import hashlib
import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import h5py
import numpy as np
import worlds
from worlds import Plfeat, Said

from plfeat_cli.main import main

HASH = re.compile(r"(?<![0-9a-f])[0-9a-f]{8,64}(?![0-9a-f])")


@cache
def sound() -> tuple[Path, Path]:
    """A store of 18 videos of three classes, and the folder of the videos. Copy it, do not change it."""
    folder = Path(mkdtemp(prefix="plfeat-forged-"))
    worlds.atexit.register(shutil.rmtree, folder, True)
    root = worlds.with_splits(folder / "mine", classes=3, train=4, test=2)
    command = ["extract", "--dataset", "folder", "--root", str(root), *worlds.MODEL, "--cache", str(folder / "cache")]
    assert main([*command, "--pool", "pool", "--workers", "1", "--quiet"]) == 0
    return worlds.store(folder / "cache"), root


def copy(tmp_path: Path) -> Path:
    """Of the sound store, at `tmp_path/cache/pool/<fingerprint>`."""
    here, _ = sound()
    return Path(shutil.copytree(here, tmp_path / "cache" / "pool" / here.name))


def reads(store: Path, out: Path, which: str) -> list[str]:
    """A command that reads a store."""
    at = ["--cache", str(store), "--quiet"]
    return {
        "verify": ["cache", "verify", str(store), "--quiet"],
        "info": ["cache", "info", str(store)],
        "train": ["train", "--frozen", "--preset", "nearest-mean", *at, "--out", str(out / "means")],
        "vit": ["train", "--frozen", "--preset", "vit", *worlds.ONE_EPOCH, *at, "--out", str(out / "vit")],
        "prompts": ["train", "--frozen", "--preset", "prompts", *worlds.ONE_EPOCH, *at, "--out", str(out / "prompts")],
        "ensemble": ["train", "--frozen", "--preset", "zero-shot-ensemble", *at, "--out", str(out / "ensemble")],
        "zero-shot": ["eval", "--zero-shot", *at, "--out", str(out / "zero")],
        "merge": ["cache", "merge", str(store), "--cache", str(out / "merged"), "--quiet"],
        "ls": ["cache", "ls", "--cache", str(store.parent.parent)],
        "gc": ["cache", "gc", "--cache", str(store.parent.parent), "--yes", "--days", "0", "--quiet"],
    }[which]


def grows(store: Path, root: Path) -> list[str]:
    return [
        "extract", "--dataset", "folder", "--root", str(root), *worlds.MODEL, "--pool", "pool", "--views", "2",
        "--cache", str(store.parent.parent), "--workers", "1", "--quiet",
    ]  # fmt: skip


def found_wrong(said: Said) -> None:
    """`cache verify` says what is wrong: exit 4, no traceback, no control character, not a page."""
    worlds.clean(said)
    assert said.code == 4, f"exit {said.code}: {said.out[-800:]} {said.err[-800:]}"
    lines = said.err.splitlines()
    assert lines
    assert lines[-1].startswith("plfeat: ")
    assert len(lines) <= 100


# ----------------------------------------------------------------------------------------------------- JSON and CSV


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file; `change` returns the new document, or changes the old one."""
    content = json.loads(path.read_text(encoding="utf-8"))
    changed = change(content)
    path.write_text(json.dumps(content if changed is None else changed), encoding="utf-8")


def edit_list(store: Path, change: Callable[[dict[str, Any], list[list[str]]], None]) -> Path:
    """Change the header and the lines (the first says the columns) of the only list."""
    import csv
    import io

    (path,) = (store / "lists").glob("*.csv")
    head, _, body = path.read_text(encoding="utf-8").partition("\n")
    header, lines = json.loads(head.removeprefix("#")), list(csv.reader(io.StringIO(body, newline="")))
    change(header, lines)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    path.write_text(f"# {json.dumps(header)}\n{text.getvalue()}", encoding="utf-8")
    return path


def column(lines: list[list[str]], name: str) -> int:
    return lines[0].index(name)


# ------------------------------------------------------------------------------------------------------------ HDF5

Data = dict[str, Any]


def one_shard(store: Path) -> Path:
    return sorted((store / "shards").glob("centre-8-*.h5"))[0]


def one_text(store: Path) -> Path:
    return sorted((store / "text").glob("*.h5"))[0]


def rewrite(path: Path, change: Callable[[Data, Data], None]) -> None:
    """Change the datasets and attributes of an HDF5 file; checksums of videos are made to fit again."""
    with h5py.File(path) as file:
        data, facts = {name: file[name][()] for name in file}, dict(file.attrs)
        kinds = {name: file[name].dtype for name in file}
    formula = checksum_of(data)
    change(data, facts)
    if formula is not None and "checksum" in data:
        again = checksums(data, formula)
        if again is not None and again.shape == np.shape(data["checksum"]):
            data["checksum"] = again
    with h5py.File(path, "w") as file:
        for name, value in data.items():
            kind = kinds.get(name)
            keep = kind is not None and (kind.kind == "O" or np.asarray(value).dtype == kind)
            file.create_dataset(name, data=value, **({"dtype": kind} if keep else {}))
        for name, value in facts.items():
            file.attrs[name] = value
    fit_text(path)


FORMULAS = [
    ("features",),
    ("features", "frame_index"),
    ("frame_index", "features"),
    ("features", "frame_index", "status"),
]


def checksums(data: Data, formula: tuple[str, ...]) -> Any:
    try:
        pointers, found = data["video_ptr"], []
        for place in range(len(pointers) - 1):
            crc = 0
            for name in formula:
                one = (
                    slice(place, place + 1)
                    if name == "status"
                    else slice(int(pointers[place]), int(pointers[place + 1]))
                )
                crc = zlib.crc32(np.ascontiguousarray(data[name][one]).tobytes(), crc)
            found.append(crc)
        return np.asarray(found, np.asarray(data["checksum"]).dtype)
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def checksum_of(data: Data) -> tuple[str, ...] | None:
    """How the file's own checksums were made, by trying."""
    for formula in FORMULAS:
        tried = checksums(data, formula)
        if tried is not None and np.array_equal(tried, data["checksum"]):
            return formula
    return None


def fit_text(path: Path) -> None:
    """A text file's hash stands in the manifest: nothing is easier than to write the new one there."""
    record = path.parent.parent / "manifest.json"
    if path.parent.name != "text" or not record.exists():
        return

    def change(content: Any) -> None:
        for text in content.get("texts", []):
            if text.get("name") == path.name:
                text["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()

    edit(record, change)


# ----------------------------------------------------------------------------------------- made to fit, as far as told


def reseal(plfeat: Plfeat, store: Path, rounds: int = 6) -> None:
    """Where `cache verify` names the hash that it found beside the one that it expected, write that one everywhere."""
    gone = set[str]()
    for _ in range(rounds):
        said = plfeat("cache", "verify", str(store), "--quiet")
        if said.code == 0:
            return
        texts = [path for path in store.rglob("*") if path.suffix in (".json", ".csv", ".jsonl") and path.is_file()]
        known = set[str]()
        for path in texts:
            known |= set(HASH.findall(path.read_text(encoding="utf-8", errors="replace")))
        known |= {word for path in store.rglob("*") for word in HASH.findall(path.name)} | _attributes(store)
        changed = False
        for line in (said.out + said.err).splitlines():
            words = HASH.findall(line)
            fresh = [word for word in words if word not in gone and not any(old.startswith(word) for old in known)]
            for new in fresh:
                for old in [word for word in words if word in known and len(word) == len(new)]:
                    _swap(store, texts, old, new)
                    gone.add(old)
                    changed = True
        if not changed:
            return


def _attributes(store: Path) -> set[str]:
    found = set[str]()
    for path in store.rglob("*.h5"):
        try:
            with h5py.File(path) as file:
                found |= {word for value in file.attrs.values() for word in HASH.findall(str(value))}
        except OSError:
            continue
    return found


def _swap(store: Path, texts: Iterable[Path], old: str, new: str) -> None:
    for path in texts:
        if path.exists():
            content = path.read_text(encoding="utf-8", errors="surrogateescape")
            path.write_text(content.replace(old, new), encoding="utf-8", errors="surrogateescape")
    for path in sorted(store.rglob("*")):
        for before, after in ((old, new), (old[:8], new[:8])):
            if before in path.name and path.is_file():
                path.rename(path.with_name(path.name.replace(before, after)))
                break
    for path in store.rglob("*.h5"):
        try:
            with h5py.File(path, "r+") as file:
                for name, value in file.attrs.items():
                    if isinstance(value, str) and old in value:
                        file.attrs[name] = value.replace(old, new)
        except OSError:
            continue
