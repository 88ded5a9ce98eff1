"""Text for so many columns: tables and sentences that break at words. A width in, lines out. Without a width nothing is
broken: what goes into a pipe stays whole.
"""

from collections.abc import Collection, Iterator
from textwrap import wrap

_GAP = 2
_LEAST = 16  # columns that running text needs

Lines = list[list[str]]


def sentence(text: str, width: int | None, under: int = 0) -> str:
    """Paragraphs, each broken at words; the later lines of one begin `under` columns in. A word that is longer than a
    line, such as a path, is left to the terminal, so that it can be copied."""
    if width is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _words(line, width, under))


def table(lines: Lines, width: int | None = None, running: Collection[int] = ()) -> Iterator[str]:
    """Aligned columns under a header. The first column and those with `running` text are set flush left and may break
    at words; the others are figures, of which only the header breaks. Columns for which there is no room go below,
    under the first one again. Where the first one would leave no room for any other, it stands above its row, on a line
    of its own."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if width is None or _across(widths) <= width:
        yield from _ruled(lines, widths, running)
        return
    for i, (header, *cells) in enumerate(zip(*lines, strict=True)):  # headers break before anything has to go below
        widths[i] = max(_longest(header), *map(len, cells))
    longest = max(_longest(line[0]) for line in lines)
    alone, widths[0] = longest > width // 2, min(widths[0], max(longest, width // 3))
    room = width - _GAP if alone else width
    for i in running:
        widths[i] = max(min(widths[i], _LEAST), min(widths[i], widths[i] - _across(widths[alone:]) + room))
    for number, columns in enumerate(_blocks(widths, room, alone)):
        if number:
            yield ""
        shown = [widths[i] for i in columns]
        flush = [n for n, i in enumerate(columns) if i in running]
        if alone:
            yield from _under_names(lines, columns, shown, flush, width)
        else:
            yield from _ruled([[line[i] for i in columns] for line in lines], shown, flush)


def _blocks(widths: list[int], room: int, alone: bool) -> Iterator[list[int]]:
    """The columns that fit side by side. The first one is in every block, unless it stands alone above."""
    names = [] if alone else [0]
    block = list(names)
    for i in range(1, len(widths)):
        if len(block) > len(names) and _across([widths[n] for n in (*block, i)]) > room:
            yield block
            block = list(names)
        block.append(i)
    yield block


def _under_names(lines: Lines, columns: list[int], widths: list[int], flush: list[int], width: int) -> Iterator[str]:
    header, *rows = lines
    yield header[0]
    yield from ("  " + part for part in _ruled([[header[i] for i in columns]], widths, [-1, *flush]))
    for row in rows:
        yield from _words(row[0], width)
        yield from ("  " + part for part in _row([row[i] for i in columns], widths, [-1, *flush]))


def _ruled(lines: Lines, widths: list[int], running: Collection[int]) -> Iterator[str]:
    header, *rows = lines
    yield from _row(header, widths, [0, *running])
    yield (" " * _GAP).join("-" * width for width in widths)
    for row in rows:
        yield from _row(row, widths, [0, *running])


def _row(cells: list[str], widths: list[int], flush: Collection[int]) -> Iterator[str]:
    parts = [_broken(cell, width) for cell, width in zip(cells, widths, strict=True)]
    for at in range(max(map(len, parts))):
        now = [part[at] if at < len(part) else "" for part in parts]
        set_ = [
            text.ljust(width) if i in flush else text.rjust(width)
            for i, (text, width) in enumerate(zip(now, widths, strict=True))
        ]
        yield (" " * _GAP).join(set_).rstrip()


def _words(text: str, width: int, under: int = 0) -> list[str]:
    if len(text) <= width:
        return [text]
    return wrap(text, width, subsequent_indent=" " * under, break_long_words=False, break_on_hyphens=False)


def _broken(text: str, width: int) -> list[str]:
    """For a column, beyond which nothing may reach."""
    return [text] if len(text) <= width else wrap(text, width, break_on_hyphens=False)


def _longest(text: str) -> int:
    return max(map(len, text.split()), default=0)


def _across(widths: list[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)
