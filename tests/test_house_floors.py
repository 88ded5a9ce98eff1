"""The floors of the house: imports go down only, and rooms of one floor never import each other."""

from collections.abc import Iterator
from pathlib import Path

from floors import BEGIN, END, FLOORS, GROUND, HOME, PAGE, drawn, imports, may_import, picture, rooms


def violations(root: Path) -> Iterator[str]:
    """Every import that goes up or sideways, as `file:line: room imports room`."""
    for file, line, room, target in imports(root):
        if target not in may_import(room):
            yield f"{file}:{line}: {room} imports {target}"


def test_imports_go_down_only() -> None:
    assert list(violations(HOME)) == []


def test_every_room_has_a_floor() -> None:
    assert rooms() <= {room for floor in FLOORS for room in floor} | set(GROUND)


def test_no_room_is_empty() -> None:
    for room in (HOME / "plfeat").iterdir():
        if room.is_dir() and room.name != "__pycache__":
            assert [path for path in room.glob("*.py") if path.name != "__init__.py"] or room.name == "datasets", room


def test_a_planted_violation_is_named_with_file_and_line(tmp_path: Path) -> None:
    room = tmp_path / "plfeat" / "loss"
    room.mkdir(parents=True)
    (room / "match.py").write_text('"""A loss."""\n\n\ndef f():\n    from plfeat.flows import train\n')
    assert list(violations(tmp_path)) == ["plfeat/loss/match.py:5: loss imports flows"]


def test_contributing_shows_the_floors_as_the_code_has_them() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert drawn(page) == page, "run `python tests/floors.py`"


def test_a_new_import_is_another_picture(tmp_path: Path) -> None:
    for room in ("loss", "train"):
        (tmp_path / "plfeat" / room).mkdir(parents=True)
    module = tmp_path / "plfeat" / "train" / "fleet.py"
    module.write_text("from plfeat.errors import DataError\n")
    assert "train" in picture(tmp_path)
    assert "→" not in picture(tmp_path)
    module.write_text("from plfeat.loss.match import cosine\n")
    assert "train       → loss" in picture(tmp_path)
    page = f"Before.\n{BEGIN}old\n{END}After.\n"
    assert drawn(page, tmp_path).startswith(f"Before.\n{BEGIN}```text\n")
    assert drawn(page, tmp_path).endswith(f"```\n{END}After.\n")
