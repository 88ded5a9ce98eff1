"""`python tests/floors.py` draws the house from the code's own imports into CONTRIBUTING.md.

A room is a folder or a module of plfeat, or the package of commands. It imports itself and the floors below.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
PAGE = HOME / "CONTRIBUTING.md"
BEGIN, END = "<!-- floors: written by `python tests/floors.py` -->\n", "<!-- end of floors -->\n"

FLOORS = (
    ("plfeat_cli", "api"),
    ("flows",),
    ("bench",),
    ("toy",),
    ("extract", "train"),
    ("desk", "frames"),
    ("datasets", "video", "backbone", "shards", "model", "loss", "metrics", "report"),
)
"""From the top; rooms of one floor do not import each other."""

GROUND = (
    *("errors", "files", "records", "recipe", "config", "settings", "presets"),
    *("registry", "device", "means", "progress"),
)
"""What every room may import. These import each other."""

DOORS = {"plfeat_cli": {"flows", "bench", "extract"}, "api": {"flows", "shards", "desk"}}
"""All that a door may import besides the ground."""


def may_import(room: str) -> set[str]:
    if room in GROUND:
        return set(GROUND)
    floor = next((number for number, rooms in enumerate(FLOORS) if room in rooms), None)
    if floor is None:
        return set()
    below = DOORS.get(room, {lower for rooms in FLOORS[floor + 1 :] for lower in rooms})
    return {room, *below, *GROUND}


def imports(root: Path = HOME) -> Iterator[tuple[str, int, str, str]]:
    """Every import of our own code: file, line, the room that imports, the room that is imported."""
    for source in (root / "plfeat", root / "cli"):
        for path in sorted(source.rglob("*.py")):
            room = path.relative_to(source).with_suffix("").parts[0]
            for line, target in _imports(ast.parse(path.read_text(encoding="utf-8"))):
                if room != "__init__":
                    yield str(path.relative_to(root)), line, room, target


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and room of every import of our own code, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are written from the top"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first == "plfeat" and rest and rest[0] != "__version__":
                yield node.lineno, rest[0]
            elif first == "plfeat_cli":
                yield node.lineno, "plfeat_cli"


def rooms(root: Path = HOME) -> set[str]:
    inside = {path.name.removesuffix(".py") for path in (root / "plfeat").iterdir() if path.name[0] not in "_."}
    return inside - {"py.typed"} | {"plfeat_cli"}


def picture(root: Path = HOME) -> str:
    """A line for each room: what it imports, but for the ground."""
    found, there = defaultdict(set), rooms(root)
    for _, _, room, target in imports(root):
        found[room].add(target)
    lines = []
    for number, floor in zip(range(len(FLOORS), 0, -1), FLOORS, strict=True):
        for place, room in enumerate(room for room in floor if room in there):
            targets = " ".join(sorted(found[room] - {room, *GROUND}))
            lines.append(f"{'' if place else number:>2}  {room:10}  {'→ ' + targets if targets else ''}".rstrip())
    lines.append(f" 0  {' '.join(room for room in GROUND if room in there)}")
    return "\n".join(lines)


def drawn(page: str, root: Path = HOME) -> str:
    """The page with the picture as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}```text\n{picture(root)}\n```\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
