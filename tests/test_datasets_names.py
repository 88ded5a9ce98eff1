"""Class names: one rule, own tables, and no two the same."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import write

from plfeat.datasets.names import class_names, readable
from plfeat.errors import DataError
from plfeat.toy.world import CLASS_NAMES


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("ApplyEyeMakeup", "apply eye makeup"),
        ("HandStandPushups", "hand stand pushups"),
        ("YoYo", "yo yo"),
        ("TaiChi", "tai chi"),
        ("BMXRiding", "bmx riding"),
        ("Walking WithDog", "walking with dog"),
        ("draw_sword", "draw sword"),
        ("shooting goal (soccer)", "shooting goal (soccer)"),
        ("massaging person's head", "massaging person's head"),
        ("passing American football (not in game)", "passing american football (not in game)"),
        ("Pushing [something] from left to right", "pushing something from left to right"),
        ("  two   spaces ", "two spaces"),
    ],
)
def test_names_become_words(raw: str, words: str) -> None:
    assert readable(raw) == words


@given(st.text())
def test_what_is_readable_stays_as_it_is(raw: str) -> None:
    assert readable(readable(raw)) == readable(raw)


@given(st.from_regex(r"([A-Z][a-z]{1,5}|[a-z]{1,5}_|\[[a-z]+\] ){1,6}", fullmatch=True))
def test_no_letter_is_lost_and_no_sign_of_an_owners_style_stays(raw: str) -> None:
    words = readable(raw)
    assert words.replace(" ", "") == "".join(letter for letter in raw.lower() if letter.isalpha())
    assert not set(words) & set("[]_ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def test_toy_names_are_words_already() -> None:
    assert class_names(CLASS_NAMES, None) == CLASS_NAMES


def test_two_classes_never_read_the_same(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="classes 'draw_sword' and 'DrawSword' both read 'draw sword'"):
        class_names(["draw_sword", "run", "DrawSword"], None)
    own = write(tmp_path / "names.csv", "class,name\nDrawSword,drawing a sword\n")
    assert class_names(["draw_sword", "DrawSword"], own) == ("draw sword", "drawing a sword")


def test_a_class_without_words_asks_for_some(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class '_' has no words"):
        class_names(["_"], None)
    assert class_names(["_"], write(tmp_path / "n.csv", "class,name\n_,nothing\n")) == ("nothing",)


def test_own_names_are_taken_as_written_and_may_leave_classes_out(tmp_path: Path) -> None:
    own = write(tmp_path / "names.csv", "name,class\nTai  Chi, TaiChi\n")
    assert class_names(["YoYo", "TaiChi"], own) == ("yo yo", "Tai Chi")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("class,name\nTaiChee,x\n", r"names.csv:2: unknown class 'TaiChee'; did you mean 'TaiChi'\?"),
        ("class,name\nTaiChi,x\nTaiChi,y\n", r"names.csv:3: class 'TaiChi' has a name already, 'x'"),
        ("class,name\nTaiChi, \n", r"names.csv:2: expected words for the class 'TaiChi', found none"),
        ("class,name\nTaiChi,yo yo\n", "classes 'YoYo' and 'TaiChi' both read 'yo yo'"),
        ("class,names\nTaiChi,x\n", r"names.csv:1: expected a header with the columns class,name, each once"),
        ("class,name,more\nTaiChi,x,y\n", "names.csv:1: unknown column 'more'"),
    ],
)
def test_a_wrong_table_of_names_says_where(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        class_names(["YoYo", "TaiChi"], write(tmp_path / "names.csv", table))
