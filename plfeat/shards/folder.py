"""A cache folder's bookkeeping: spec.json comes first, shards as they are made, ledger.jsonl and manifest.json last.

Everything but the spec is rebuilt from the shards alone, so a kill can lose no line of it.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plfeat.errors import CacheError, first_line
from plfeat.files import publish, sha256_of, write_json, write_text
from plfeat.shards.reader import State, open_cache, read_shard, state_of
from plfeat.shards.schema import DOUBTFUL, FAILED, Shard, differences, expected_shards, fingerprint

MISSING = "the file does not exist"
"""The error of a video whose file was not there."""


@dataclass(frozen=True)
class Tally:
    """What became of the videos of the shards that are there."""

    shards: int
    expected: int
    videos: int
    failed: int
    missing: int  # of the failed, those whose file was not there
    doubtful: int
    reasons: dict[str, int]

    @property
    def complete(self) -> bool:
        return self.shards == self.expected


def claim(folder: Path, spec: dict[str, Any]) -> None:
    """The folder is this spec's from now on, or an error says in what it is another's."""
    path = folder / "spec.json"
    if not path.exists():
        write_json(path, spec)
        return
    require_same(spec, stored_spec(folder), f"cache {folder}")


def stored_spec(folder: Path) -> dict[str, Any]:
    path = folder / "spec.json"
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
        expected_shards(spec), fingerprint(spec)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CacheError(
            f"cache {folder}: spec.json is damaged ({first_line(error)}); remove the folder or restore the file"
        ) from error
    assert isinstance(spec, dict)
    return spec


def require_same(wanted: dict[str, Any], found: dict[str, Any], where: str) -> None:
    different = list(differences(wanted, found))
    if different:
        key, here, there = different[0]
        more = f" (and {len(different) - 1} more: {', '.join(name for name, *_ in different[1:6])})"
        raise CacheError(
            f"{where}: {key} is {_short(there)}, but what is asked for has {_short(here)}"
            f"{more if len(different) > 1 else ''}; features made differently are never mixed"
        )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 48 else text[:45] + "…"


def _known_hashes(folder: Path) -> dict[str, str]:
    """What an earlier, finished run said about its shards; nothing if there was none or its manifest is damaged."""
    try:
        return {entry["name"]: entry["sha256"] for entry in open_cache(folder).manifest["shards"]}
    except CacheError:
        return {}


def whole(path: Path) -> Shard | None:
    try:
        return read_shard(path, verify=True)
    except CacheError:
        return None


@dataclass(frozen=True)
class _Page:
    """What is written down of a whole shard. It holds as long as its file stays in this state."""

    state: State
    sha256: str
    counts: dict[str, int]
    lines: list[dict[str, Any]]


@dataclass
class Books:
    """A folder's ledger and manifest, as they come about. A shard that was checked or written here is not looked at
    again unless its file has changed since; any other one is. `paths` says where a video lay, where known."""

    folder: Path
    spec: dict[str, Any]
    paths: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known = _known_hashes(self.folder)
        self._pages: dict[str, _Page] = {}

    def place(self, name: str) -> Path:
        return self.folder / "shards" / name

    def check(self, name: str) -> Shard | None:
        """The shard that is there, if it is whole and has the hash that an earlier, finished run gave it."""
        path = self.place(name)
        if path.is_dir():
            raise CacheError(f"{path}: a folder lies where a shard should be; move it away")
        if path.is_symlink() or not path.is_file():
            return None
        state, found = state_of(path), sha256_of(path)  # in this order: what changes meanwhile is looked at again
        shard = whole(path) if found == self._known.get(name, found) else None
        if shard is not None:
            self._enter(name, state, found, shard)
        return shard

    def write(self, name: str, image: bytes) -> None:
        """A shard that was just made, whatever lay in its place."""
        with publish(self.place(name)) as part:
            part.write_bytes(image)
            state, shard = state_of(part), read_shard(part)
        self._known.pop(name, None)
        self._enter(name, state, hashlib.sha256(image).hexdigest(), shard)

    def hash_of(self, name: str) -> str | None:
        """Of a shard that is whole."""
        page = self._page(name)
        return page.sha256 if page else None

    def finish(self, text: dict[str, Any]) -> Tally:
        """Writes the ledger, and the manifest once every shard is there. One that is not whole, or not what it was
        known to be, is as good as not there."""
        expected = expected_shards(self.spec)
        pages = {name: page for name in expected if (page := self._page(name)) is not None}
        ledger = [line for page in pages.values() for line in page.lines]
        entries: list[dict[str, Any]] = [
            {"name": name, "split": expected[name][0], "sha256": page.sha256, **page.counts}
            for name, page in pages.items()
        ]
        tally = Tally(
            shards=len(entries),
            expected=len(expected),
            videos=sum(entry["videos"] for entry in entries),
            failed=sum(entry["failed"] for entry in entries),
            missing=sum(line["stage"] == "find" for line in ledger),
            doubtful=sum(entry["doubtful"] for entry in entries),
            reasons=dict(Counter(_kind(line) for line in ledger).most_common()),
        )
        lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in ledger)
        write_text(self.folder / "ledger.jsonl", lines)
        if tally.complete:
            manifest = {
                "fingerprint": fingerprint(self.spec),
                "shards": entries,
                "videos": tally.videos,
                "failed": tally.failed,
                "doubtful": tally.doubtful,
                "list_sha256": self.spec["dataset"]["list_sha256"],
                "text": text,
            }
            write_json(self.folder / "manifest.json", manifest)
        return tally

    def _enter(self, name: str, state: State, sha256: str, shard: Shard) -> None:
        self._pages[name] = _Page(state, sha256, _counts(shard), _lines(shard, self.paths))

    def _page(self, name: str) -> _Page | None:
        page = self._pages.pop(name, None)
        if page is not None and page.state == state_of(self.place(name)):
            self._pages[name] = page
        else:
            self.check(name)
        return self._pages.get(name)


def ledger_paths(folder: Path) -> dict[str, str]:
    """Where the videos of a folder's ledger lay; nothing if it has none yet."""
    try:
        lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]
        return {line["id"]: line["path"] for line in lines if line["path"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _counts(shard: Shard) -> dict[str, int]:
    return {
        "videos": len(shard.id_N),
        "rows": len(shard.features_RD),
        "failed": int((shard.status_N == FAILED).sum()),
        "doubtful": int((shard.status_N == DOUBTFUL).sum()),
    }


def _lines(shard: Shard, paths: Mapping[str, str]) -> list[dict[str, Any]]:
    """One for each video that failed, and for each that has features its decoder had doubts about."""
    return [
        {
            "id": video,
            "path": paths.get(video),
            "stage": "find" if error == MISSING else "decode",
            "kept": bool(status == DOUBTFUL),
            "error": error,
        }
        for video, status, error in zip(shard.id_N, shard.status_N, shard.error_N, strict=True)
        if error
    ]


def _kind(line: dict[str, Any]) -> str:
    """An error without what is its own: names and numbers."""
    name = Path(line["path"] or line["id"]).name
    plain = re.sub(r"\d+", "#", line["error"].replace(name, "…"))
    return f"kept, but {plain}" if line["kept"] else plain
