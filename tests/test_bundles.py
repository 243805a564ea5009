"""The ``.posterion`` file: what comes back, and every way in which a file can be wrong."""

import errno
import hashlib
import io
import json
import math
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pytest

from posterion import bundles
from posterion.bundles import archive
from posterion.bundles.schema import violations
from posterion.core.errors import (
    BundleCorruptError,
    BundleError,
    BundleVersionError,
    OutputError,
)
from posterion.core.estimate import Estimate
from posterion.core.registry import register
from posterion.core.status import Status

CARD = {
    "kind": "posterior",
    "name": "banana",
    "parameters": [
        {
            "name": "y",
            "shape": [],
            "unit": "fm",
            "label": "$y$",
            "lower": -5.0,
            "upper": math.inf,
            "periodic": False,
            "scale": None,
            "prior": None,
        }
    ],
    "status": "converged",
    "health": {"report": "ESS/N 0.998", "k_hat": math.nan},
    "history": {"loss": np.array([2.0, math.inf])},
}


@register("test_bundles_line")
@dataclass(frozen=True)
class Line:
    slope: np.ndarray
    names: dict


@pytest.fixture
def line():
    return Line(np.linspace(0.0, 1.0, 50), {"float": "nan", "k": math.inf})


@pytest.fixture
def path(tmp_path, line):
    path = tmp_path / "line.posterion"
    bundles.save_object(path, line, CARD)
    return path


def test_the_object_and_the_card_come_back(path, line):
    again = bundles.load_object(path)
    np.testing.assert_array_equal(again.slope, line.slope)
    assert again.names == line.names
    card, arrays = bundles.read(path)
    assert card == bundles.read_card(path) | {"health": card["health"]}
    assert math.isnan(card["health"]["k_hat"]) and card["history"]["loss"] == [2.0, math.inf]
    assert card["parameters"][0]["upper"] == math.inf
    assert set(card["versions"]) >= {"python", "posterion", "jax"}
    assert list(arrays) == ["slope"] and arrays["slope"].dtype == np.float64


def test_a_file_of_format_1_is_read_for_good():
    """``golden/format-1.posterion`` is never written anew: a later version must read it."""
    loaded = bundles.load_object(Path(__file__).parent / "golden" / "format-1.posterion")
    assert loaded["evidence"] == Estimate(-14.57585, 0.0003)
    assert loaded["status"] is Status.converged and loaded["bounds"] == (0.0, math.inf)
    np.testing.assert_array_equal(loaded["knots"], np.array([0.0, 0.1, 1.0]))
    assert loaded["knots"].dtype == np.float64
    assert isinstance(loaded["weights"], jax.Array)
    np.testing.assert_array_equal(loaded["weights"], np.float32([[0.1], [0.2]]))


def test_the_same_content_gives_the_same_bytes(path, tmp_path, line):
    bundles.save_object(tmp_path / "again", line, CARD)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_other_programs_read_it(path):
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        assert file.namelist() == ["card.json", "arrays.safetensors", "checksums.json"]
        card = json.loads(file.read("card.json"), parse_constant=pytest.fail)
        sums = json.loads(file.read("checksums.json"))
        for name, checksum in sums.items():
            assert checksum == "sha256:" + hashlib.sha256(file.read(name)).hexdigest()
    assert card["parameters"][0]["upper"] == {"float": "inf"}


def test_nothing_of_jax_is_imported_for_the_card(path, run_python):
    run_python(
        "import sys\nfrom posterion import bundles\n"
        "bundles.describe(bundles.read_card(sys.argv[1]))\n"
        "assert 'jax' not in sys.modules",
        str(path),
    )


def test_every_flipped_byte_is_noticed(path):
    data = path.read_bytes()
    for position in [*range(0, len(data), 97), *range(60), *range(len(data) - 300, len(data))]:
        for bit in (0x01, 0x80):
            damaged = bytearray(data)
            damaged[position] ^= bit
            path.write_bytes(damaged)
            with pytest.raises(BundleError, match=r"line\.posterion"):
                bundles.load_object(path)


def test_every_truncation_is_noticed(path):
    data = path.read_bytes()
    for length in [*range(0, len(data), 97), 1, 2, 29, 31, 39, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(BundleCorruptError):
            bundles.load_object(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(BundleCorruptError, match="altered"):
        bundles.load_object(path)


def zip_of(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(name.replace("_", "."), data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"%PDF-1.7\n%...", "no Posterion bundle"),
        (b"text\n" * 100, "no Posterion bundle"),
        (b"\x00" * 1000, "no Posterion bundle"),
        (b"\x89HDF\r\n\x1a\n", "no Posterion bundle"),
        (zip_of(a_npy=b"1" * 100), "a ZIP archive of something else"),
        (zip_of(card_json=b"{}"), "truncated or altered"),
    ],
)
def test_foreign_files(tmp_path, data, message):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(BundleError, match=message):
        bundles.read(path)


def test_missing_folder_and_pipe(tmp_path):
    with pytest.raises(BundleError, match=r"no file .*nothing"):
        bundles.read(tmp_path / "nothing")
    with pytest.raises(BundleError, match="is a folder"):
        bundles.read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleError, match="no regular file"):
        bundles.read(tmp_path / "pipe")


def sealed(members, *, compression=zipfile.ZIP_STORED):
    """An archive with a proper seal: damage that only someone on purpose can do."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
        file.comment = archive._SEAL + b"0" * 64
    return archive._sealed(buffer.getvalue())


def members_of(path, **card_changes):
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    card = json.loads(members["card.json"]) | card_changes
    members["card.json"] = json.dumps(card).encode()
    members["checksums.json"] = json.dumps(
        {k: archive._checksum(members[k]) for k in ("card.json", "arrays.safetensors")}
    ).encode()
    return members


def test_a_newer_file_says_so_however_it_is_laid_out(path):
    members = members_of(path, format_version=2)
    path.write_bytes(sealed(members))
    with pytest.raises(BundleVersionError, match=r"version 2, .* up to 1: update Posterion"):
        bundles.read(path)
    path.write_bytes(zip_of(card_json=members["card.json"], weights_zst=b""))
    with pytest.raises(BundleVersionError, match="version 2"):
        bundles.read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "format is not 'posterion'"),
        ({"parameters": [{"name": 3}]}, r"parameters\[0\].'shape' is missing"),
        ({"citations": "x"}, "citations is not of type array"),
        ({"format_version": 0}, "format_version is below 1"),
        ({"format_version": True}, "format_version is not of type integer"),
        ({"object": {"type": "posix.system", "version": 1, "fields": {}}}, "unknown type"),
        ({"object": {"array": "no", "library": "numpy"}}, "the array 'no' is missing"),
        ({"object": {"type": "test_bundles_line", "version": 9, "fields": {}}}, "version 9"),
    ],
)
def test_a_card_that_breaks_the_schema(path, changes, message):
    path.write_bytes(sealed(members_of(path, **changes)))
    with pytest.raises(BundleError, match=message):
        bundles.load_object(path)


def test_hostile_archives(path):
    good = members_of(path)
    zeros = b"0" * (archive._MAX_CARD + 1)
    cases = [
        (sealed(good, compression=zipfile.ZIP_DEFLATED), "compressed"),
        (sealed(good | {"card.json": b" " * 10}), r"card.json does not match its checksum"),
        (sealed(good | {"extra": b""}), "members are not"),
        (
            sealed({"card.json": zeros, "arrays.safetensors": b"", "checksums.json": b"{}"}),
            "larger",
        ),
        (sealed(good | {"checksums.json": b"[]"}), "no proper bundle"),
        (sealed(good | {"checksums.json": b"[" * 100_000}), "no proper bundle"),
    ]
    for data, message in cases:
        path.write_bytes(data)
        with pytest.raises(BundleError, match=message):
            bundles.load_object(path)


def resealed(good, name, data):
    members = good | {name: data}
    sums = {k: archive._checksum(members[k]) for k in ("card.json", "arrays.safetensors")}
    return sealed(members | {"checksums.json": json.dumps(sums).encode()})


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("card.json", b"[" * 100_000, "nested too deeply"),
        ("card.json", b'{"a": NaN}', "NaN is not JSON"),
        ("card.json", b"\xff\xfe", "card cannot be read"),
        ("card.json", b"[]", "not of type object"),
        ("card.json", b"1" * 10_000, "card"),
        ("arrays.safetensors", b"", "arrays cannot be read"),
        ("arrays.safetensors", (1 << 62).to_bytes(8, "little") + b"{}", "arrays cannot be read"),
        ("arrays.safetensors", b"\x02" + b"\0" * 7 + b"{}" + b"more", "arrays cannot be read"),
    ],
)
def test_hostile_members(path, name, data, message):
    path.write_bytes(resealed(members_of(path), name, data))
    with pytest.raises(BundleError, match=message):
        bundles.read(path)


def test_a_claimed_size_beyond_the_file_is_refused(path):
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (1 << 31).to_bytes(4, "little")
    path.write_bytes(archive._sealed(bytes(data)))
    with pytest.raises(BundleCorruptError, match="claim more bytes"):
        bundles.read(path)


def test_a_file_above_the_limit_is_refused_unread(path):
    with pytest.raises(BundleError, match=r"more than the limit of 100: .*max_bytes"):
        bundles.read(path, max_bytes=100)


def test_a_card_that_cannot_be_written_leaves_no_file(tmp_path):
    path = tmp_path / "x.posterion"
    for card, message in [
        ({"name": "x", "object": 1}, "'kind' is missing"),
        ({"kind": "x", "name": "x", "object": 1, "settings": {"f": len}}, "builtin"),
        ({"kind": "x", "name": "x", "object": 1, "licence": 3}, "licence"),
    ]:
        with pytest.raises(BundleError, match=message):
            bundles.write(path, card, {})
    with pytest.raises(BundleError, match="arrays cannot be written"):
        bundles.write(path, {**CARD, "object": 1}, {"a": np.array(["text"])})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(path, line, monkeypatch):
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        bundles.save_object(path, Line(np.zeros(9), {}), CARD)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    bundles.load_object(path)


def test_a_quota_reached_while_writing_leaves_the_old_file(path, run_python):
    before = path.read_bytes()
    code = (
        "import resource, signal, sys, numpy as np; from posterion import bundles, errors\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        "try: bundles.save_object(sys.argv[1], np.zeros(10**5), {'kind': 'k', 'name': 'n'})\n"
        "except errors.OutputError as error: sys.exit(f'refused: {error}')"
    )
    done = run_python(code, str(path), check=False)
    assert "refused: cannot write" in done.stderr and "File too large" in done.stderr
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_description_names_what_a_reader_needs(path):
    text = bundles.describe(bundles.read_card(path))
    for expected in ("posterior: banana", "fm", "[-5, inf]", "flat", "ESS/N 0.998", "not stated"):
        assert expected in text
    card = bundles.read_card(path) | {"name": "\x1b[31mred\r"}
    assert "\x1b" not in bundles.describe(card) and "\r" not in bundles.describe(card)


def test_the_schema_checks_what_it_states():
    schema = {"type": ["integer", "null"], "minimum": 2}
    assert violations(2, schema) == [] and violations(1, schema) == ["the card is below 2"]
    assert violations(None, schema) == []
    assert violations(True, {"type": "number"}) == ["the card is not of type number"]
