"""The floors of the house: imports go down only, and rooms of one floor never import each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
GROUND = {"errors", "records", "config", "settings", "presets", "registry", "files", "device", "recipe"}
ROOMS = {"datasets", "video", "backbone", "shards", "model", "fewshot", "loss", "metrics", "report"}
CORRIDOR, BOARD, STAIRCASE, DOOR = {"train"}, {"studies", "toy"}, {"flows"}, {"plfeat_cli", "api"}

MAY_IMPORT = (
    dict.fromkeys(GROUND, GROUND)
    | {room: GROUND | {room} for room in ROOMS}
    | {"train": GROUND | {"train", "model", "loss", "metrics", "backbone", "shards"}}
    | {room: GROUND | ROOMS | {room} for room in BOARD}
    | {"flows": GROUND | ROOMS | CORRIDOR | BOARD | {"flows"}}
    | {"plfeat_cli": GROUND | {"flows", "plfeat_cli"}, "api": GROUND | {"flows", "shards"}}
)


def violations(root: Path) -> Iterator[str]:
    """Every import that goes up or sideways, as `file:line: room imports room`."""
    for source in (root / "plfeat", root / "cli"):
        for path in sorted(source.rglob("*.py")):
            inside = path.relative_to(source).with_suffix("").parts
            room = inside[0]
            for line, target in _imports(ast.parse(path.read_text())):
                if room != "__init__" and target not in MAY_IMPORT.get(room, set()):
                    yield f"{path.relative_to(root)}:{line}: {room} imports {target}"


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


def test_imports_go_down_only() -> None:
    assert list(violations(HOME)) == []


def test_every_room_has_a_floor() -> None:
    rooms = {path.name.removesuffix(".py") for path in (HOME / "plfeat").iterdir() if path.name[0] not in "_."}
    assert rooms - {"py.typed"} <= set(MAY_IMPORT)


def test_no_room_is_empty() -> None:
    for room in (HOME / "plfeat").iterdir():
        if room.is_dir() and room.name != "__pycache__":
            assert [path for path in room.glob("*.py") if path.name != "__init__.py"] or room.name == "datasets", room


def test_a_planted_violation_is_named_with_file_and_line(tmp_path: Path) -> None:
    room = tmp_path / "plfeat" / "loss"
    room.mkdir(parents=True)
    (room / "match.py").write_text('"""A loss."""\n\n\ndef f():\n    from plfeat.flows import train\n')
    assert list(violations(tmp_path)) == ["plfeat/loss/match.py:5: loss imports flows"]
