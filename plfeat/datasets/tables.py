"""Annotation files in; their lines, rows and JSON out, each with the place it came from.

A place is `file:line`, so that whoever finds something wrong there can say where. Knows nothing about any dataset.
"""

import csv
import io
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from plfeat.errors import DataError, first_line, unknown


def wrong(where: str, expected: str, found: object) -> DataError:
    return DataError(f"{where}: expected {expected}, found {str(found)[:100]!r}")


def read_lines(path: Path) -> list[tuple[str, str]]:
    """Every line that is not blank, without the space around it, after its place."""
    lines = io.StringIO(_read(path), newline=None)
    return [(f"{path}:{number}", line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def read_table(
    path: Path, needed: Collection[str], allowed: Collection[str] | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """Every row of a CSV file with a header, one after the other. Without `allowed`, other columns may be there."""
    rows = _rows(path)
    where, cells = next(rows, (f"{path}:1", []))
    header = [cell.strip() for cell in cells]
    if not set(needed) <= set(header) or len(set(header)) < len(header):
        raise wrong(where, f"a header with the columns {','.join(needed)}, each once", ",".join(header))
    for column in header:
        if allowed is not None and column not in allowed:
            raise DataError(f"{where}: {unknown('column', column, allowed)}")
    for where, cells in rows:
        if len(cells) != len(header):
            raise wrong(where, f"{len(header)} cells as in the header", ",".join(cells))
        yield where, dict(zip(header, cells, strict=True))


def columns_of(path: Path) -> list[str]:
    """The header of a CSV file."""
    return [cell.strip() for cell in next(_rows(path), ("", []))[1]]


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    reader = csv.reader(io.StringIO(_read(path), newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield f"{path}:{reader.line_num}", cells
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a row of a CSV file ({first_line(error)})") from None


def read_json(path: Path) -> Any:
    try:
        return json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON ({error.msg} in column {error.colno})") from None
    except RecursionError:
        raise DataError(f"{path}: not an annotation; its JSON is nested too deep") from None


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a text file in UTF-8 ({first_line(error)})") from None
    if "\0" in text:
        raise DataError(f"{path}: expected a text file in UTF-8, found a zero byte")
    return text
