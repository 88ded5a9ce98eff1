"""A cache folder's bookkeeping: spec.json comes first, shards as they are made, ledger.jsonl and manifest.json last.

Everything but the spec is rebuilt from the shards alone, so a kill can lose no line of it.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plfeat.errors import CacheError, first_line
from plfeat.files import sha256_of, write_json, write_text
from plfeat.shards.reader import open_cache, read_shard
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
        spec = json.loads(path.read_text())
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


def known_hashes(folder: Path) -> dict[str, str]:
    """What an earlier, finished run said about its shards; nothing if there was none or its manifest is damaged."""
    try:
        return {entry["name"]: entry["sha256"] for entry in open_cache(folder).manifest["shards"]}
    except CacheError:
        return {}


def kept(path: Path, known_hash: str | None) -> Shard | None:
    """The shard that is already there, if it is whole."""
    if path.is_dir():
        raise CacheError(f"{path}: a folder lies where a shard should be; move it away")
    if path.is_symlink() or not path.is_file() or (known_hash and sha256_of(path) != known_hash):
        return None
    try:
        return read_shard(path, verify=True)
    except CacheError:
        return None


def finish(
    folder: Path, spec: dict[str, Any], paths: Mapping[str, str], text: dict[str, Any], known: Mapping[str, str]
) -> Tally:
    """Writes the ledger, and the manifest once every shard is there. `paths` says where a video lay, where known; a
    shard that does not have its `known` hash, or is not whole, is as good as not there."""
    expected = expected_shards(spec)
    entries: list[dict[str, Any]] = []
    ledger: list[dict[str, Any]] = []
    for name, (split, _) in expected.items():
        path = folder / "shards" / name
        shard = kept(path, known.get(name))
        if shard is not None:
            ledger += _lines(shard, paths)
            entries.append({"name": name, "split": split, "sha256": sha256_of(path), **_counts(shard)})
    tally = Tally(
        shards=len(entries),
        expected=len(expected),
        videos=sum(entry["videos"] for entry in entries),
        failed=sum(entry["failed"] for entry in entries),
        missing=sum(line["stage"] == "find" for line in ledger),
        doubtful=sum(entry["doubtful"] for entry in entries),
        reasons=dict(Counter(_kind(line) for line in ledger).most_common()),
    )
    write_text(folder / "ledger.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in ledger))
    if tally.complete:
        manifest = {
            "fingerprint": fingerprint(spec),
            "shards": entries,
            "videos": tally.videos,
            "failed": tally.failed,
            "doubtful": tally.doubtful,
            "list_sha256": spec["dataset"]["list_sha256"],
            "text": text,
        }
        write_json(folder / "manifest.json", manifest)
    return tally


def ledger_paths(folder: Path) -> dict[str, str]:
    """Where the videos of a folder's ledger lay; nothing if it has none yet."""
    try:
        lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
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
