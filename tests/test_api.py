"""The README's example of the library, as it stands there."""

import re
from pathlib import Path

import pytest
from conftest import HOME

from plfeat import api
from plfeat.desk import Desk
from plfeat.errors import CacheError, UsageError


def test_the_readme_example_runs(
    small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (HOME / "README.md").read_text(), re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) == 5
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "toy").symlink_to(small_folder)
    video = next((small_folder / "test" / "spinning star").iterdir())
    (tmp_path / "my.mp4").symlink_to(video)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    said = capsys.readouterr().out
    assert "optim.epochs=2" in said
    assert "Prediction(video='my.mp4', best=[(" in said
    assert (tmp_path / "runs" / "mine" / "seed-0" / "model.safetensors").is_file()


def test_the_library_says_what_the_commands_say(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="no finished store under"):
        api.open(tmp_path)
    with pytest.raises(UsageError, match="unknown dataset 'toi'"):
        api.extract("toi")


def test_the_library_looks_where_the_commands_look(small_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLFEAT_CACHE", str(small_desk.store.path))
    assert api.open().store.fingerprint == small_desk.store.fingerprint


def test_nothing_is_trained_where_it_cannot_be_kept(small_desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be a folder"):
        api.train(small_desk, out=tmp_path / "file")
