"""Files written whole or not at all, and values as strict JSON."""

import errno
import json
import math
import os

import numpy as np
import pytest

from posterion.core import portable
from posterion.core.errors import OutputError
from posterion.core.files import (
    atomic_path,
    writable_directory,
    writable_file,
    write_bytes,
    write_json,
    write_text,
)
from posterion.core.versions import versions


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "one μ")
    write_text(path, "two")
    assert path.read_text() == "two" and list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_ordinary_permissions_and_a_replaced_one_keeps_its_own(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "new", b"")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "new").chmod(0o600)
    write_bytes(tmp_path / "new", b"x")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "file")
    write_bytes(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").read_bytes() == b"x"


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt(), OutputError("own")])
def test_a_failing_block_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), atomic_path(path) as temporary:
        temporary.write_bytes(b"half of the n")
        raise error
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("function", ["fsync", "replace", "open"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, function):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, function, full)
    with pytest.raises(OutputError, match=r"cannot write .*: No space left on device"):
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(OutputError, match="there is no folder"):
        write_bytes(tmp_path / "no" / "a", b"")
    for call in (lambda: write_bytes(tmp_path, b""), lambda: writable_file(tmp_path)):
        with pytest.raises(OutputError, match="it is a folder"):
            call()
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "in it", tmp_path / ("n" * 300)):
        with pytest.raises(OutputError, match="cannot write to the folder"):
            writable_directory(folder)


def test_a_folder_that_refuses_files_is_noticed(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OutputError, match="Permission denied; choose another"):
        writable_directory(tmp_path)


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    folder = writable_directory(str(tmp_path / "a" / "b"))
    assert folder == tmp_path / "a" / "b" and list(folder.iterdir()) == []
    assert writable_directory(folder) == folder


def test_json_is_strict_and_gives_back_what_json_lacks(tmp_path):
    value = {
        "a": [math.nan, math.inf, -math.inf, np.float32(0.5), np.int64(3), np.bool_(True)],
        "b": (None, "μ", {"c": np.array([[1.0, np.nan]])}),
    }
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text()
    json.loads(text, parse_constant=pytest.fail)
    again = portable.loads(text)
    assert math.isnan(again["a"][0]) and again["a"][1:] == [math.inf, -math.inf, 0.5, 3, True]
    assert again["b"][:2] == [None, "μ"] and math.isnan(again["b"][2]["c"][0][1])
    assert portable.decode({"float": "1"}) == {"float": "1"}


@pytest.mark.parametrize("value", [{1: 2}, {"a": len}, [1j], {"a": {1, 2}}])
def test_what_json_has_no_form_for(tmp_path, value):
    with pytest.raises(TypeError, match=r"must be text|cannot write"):
        write_json(tmp_path / "a.json", value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "NaN", "[" * 100_000, '{"a": Infinity}'])
def test_what_is_not_json(text):
    with pytest.raises(ValueError, match=r"JSON|Expecting"):
        portable.loads(text)


def test_the_versions_name_what_numbers_depend_on():
    assert {"python", "posterion", "jax", "numpy"} <= versions().keys()
