"""The citations: well-formed, each once, and known by key."""

import re
from dataclasses import dataclass

import pytest

from posterion.core.citations import cite, known
from posterion.core.errors import SettingError


@dataclass
class Result:
    citations: tuple[str, ...] = ("roeder2017", "dinh2017", "roeder2017")


def test_a_result_gives_each_entry_once_in_its_order():
    text = cite(Result())
    assert re.findall(r"^@\w+\{(\w+),$", text, re.MULTILINE) == ["roeder2017", "dinh2017"]
    assert text == cite(["roeder2017", "dinh2017"])
    assert cite(()) == ""


@pytest.mark.parametrize("key", known())
def test_every_entry_is_well_formed(key):
    entry = cite(key)
    assert re.match(rf"@(article|book|inproceedings|incollection|misc|software)\{{{key},\n", entry)
    assert entry.count("{") == entry.count("}") and entry.endswith("\n}") and entry.isascii()
    fields = re.findall(r"^  (\w+) = \{(.*)\},?$", entry, re.MULTILINE)
    assert len(fields) == entry.count("\n") - 1
    names = dict(fields)
    assert len(names) == len(fields) and {"author", "title"} <= names.keys()
    assert key == "posterion" or key.endswith(names["year"])
    if "eprint" in names:
        assert re.fullmatch(r"\d{4}\.\d{4,5}|physics/\d{7}", names["eprint"])
        assert names["archivePrefix"] == "arXiv"


def test_no_key_and_no_paper_stands_twice():
    eprints = re.findall(r"eprint = \{(.*)\}", cite(known()))
    assert len(set(eprints)) == len(eprints)
    assert len(known()) > 30


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(SettingError, match=r"no citation 'dinh2016'; near: dinh2017"):
        cite(["dinh2016"])
    with pytest.raises(SettingError, match="give a result or keys"):
        cite(3)
