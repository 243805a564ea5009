"""Tables larger than memory: every row once, in a random order that can be had again."""

import os
import sys
from itertools import pairwise

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from posterion.core.errors import MissingExtraError, SettingError, TableError
from posterion.io import open_rows, read_table, sources_arrow, streams, write_draws
from posterion.io.columns import Layout
from posterion.io.shuffling import Sieve

FORMATS = ["parquet", "csv", "npz", "h5", "root"]
COUNT = 5000


def table(count=COUNT):
    generator = np.random.default_rng(0)
    return {
        "row": np.arange(float(count)),
        "n": generator.integers(-9, 9, count).astype(np.int32),
        "w": generator.normal(size=(count, 3)),
        "x": (generator.integers(-99, 99, count) / 8).astype(np.float32),
    }


def write(path, columns, part=1000):
    """Write in parts, so that there are several row groups; ROOT through uproot."""
    count = len(next(iter(columns.values())))
    parts = [{k: v[i : i + part] for k, v in columns.items()} for i in range(0, count, part)]
    if path.suffix != ".root":
        write_draws(path, parts)
        return path
    uproot = pytest.importorskip("uproot", reason="ROOT files need uproot, of the extra hep")
    with uproot.recreate(path) as file:
        file.mktree("events", {name: (v.dtype, v.shape[1:]) for name, v in columns.items()})
        for chunk in parts:
            file["events"].extend(chunk)
    return path


def whole(table, **options):
    return np.concatenate(list(table.chunks(**options)))


def flat(columns):
    return Layout.of(columns).flatten(columns)


@pytest.mark.parametrize("suffix", FORMATS)
def test_chunks_are_what_read_table_reads(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", table())
    expected = flat(read_table(path))
    rows = open_rows(path, dtype=np.float64)
    assert rows.names == tuple(expected) == ("row", "n", "w[0]", "w[1]", "w[2]", "x")
    assert (rows.count, rows.nbytes) == (COUNT, COUNT * 6 * 8)
    chunks = list(rows.chunks(333))
    assert [len(chunk) for chunk in chunks] == [333] * 15 + [5]
    np.testing.assert_array_equal(np.concatenate(chunks), np.stack(list(expected.values()), 1))
    single = open_rows(str(path))
    assert single.nbytes == COUNT * 6 * 4
    after = whole(single, rows=100_000)
    assert after.dtype == np.float32 and after.flags.c_contiguous and after.flags.writeable
    np.testing.assert_array_equal(after, np.concatenate(chunks).astype(np.float32))


def test_arrays_in_memory_are_rows_too_and_are_not_touched():
    columns = table()
    after = whole(open_rows(columns), rows=COUNT)
    after[:] = 0
    assert columns["row"][-1] == COUNT - 1
    after = whole(open_rows(columns), seed=1, rows=COUNT)
    np.testing.assert_array_equal(np.sort(after[:, 0]), np.arange(COUNT))


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_epoch_has_every_row_once_in_an_order_of_its_own(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", table())
    ordered = whole(open_rows(path))
    rows = open_rows(path, ["row", "n", "w", "x"])
    options = {"rows": 700, "buffer_bytes": 100_000}  # some 2300 rows
    first = whole(rows, seed=1, epoch=0, **options)
    others = [whole(rows, seed=s, epoch=e, **options) for s, e in [(1, 1), (2, 0), (1, 2)]]
    for shuffled in (first, *others):
        np.testing.assert_array_equal(shuffled[np.argsort(shuffled[:, 0])], ordered)
    for one, other in pairwise([first, *others, ordered]):
        assert (one[:, 0] == other[:, 0]).mean() < 0.01
    np.testing.assert_array_equal(first, whole(rows, seed=1, epoch=0, **options))
    again = whole(open_rows(path), seed=1, rows=64, buffer_bytes=100_000)
    np.testing.assert_array_equal(first, again)


def test_a_table_within_the_buffer_is_shuffled_as_a_whole(tmp_path):
    """Where a row comes from says nothing on where it goes: chi-square, false alarm 1e-3."""
    path = write(tmp_path / "a.h5", {"row": np.arange(20_000.0)})
    order = whole(open_rows(path), seed=3)[:, 0].astype(int)
    counts = np.histogram2d(order, np.arange(20_000), bins=10)[0]
    chi2 = ((counts - 200) ** 2 / 200).sum()
    assert 1e-3 < stats.chi2(81).sf(chi2) < 1 - 1e-3
    assert (np.diff(order) == 1).sum() < 10  # of 20 000, where one is expected


def test_a_small_buffer_still_mixes_the_whole_table(tmp_path):
    path = write(tmp_path / "a.h5", {"row": np.arange(200_000.0)})
    with h5py.File(path, "a") as file:  # as other programs write it, without chunks
        del file["row"]
        file["row"] = np.arange(200_000.0)
    rows = open_rows(path)
    for chunk in rows.chunks(2000, seed=0, buffer_bytes=200_000):  # some 12 000 rows
        tenths = np.bincount((chunk[:, 0] // 20_000).astype(int), minlength=10)
        assert (tenths > 0).sum() >= 8 or len(chunk) < 2000


def test_long_row_groups_are_read_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(sources_arrow, "_PAGES", 1000)  # else the small buffer allows but two
    paths = [
        write(tmp_path / f"{i}.parquet", {"kind": np.full(5000, i)}, part=5000) for i in range(4)
    ]
    for chunk in open_rows(paths).chunks(2000, seed=0, buffer_bytes=40_000):
        assert set(chunk[:, 0]) == {0, 1, 2, 3}
    in_order = whole(open_rows(paths))[:, 0]
    np.testing.assert_array_equal(in_order, np.repeat(np.arange(4), 5000))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "h5"])
def test_a_split_is_disjoint_complete_and_the_same_in_every_epoch(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", table())
    rows = open_rows(path, ["row"])
    train, valid = rows.split(0.2, seed=5)
    chosen = {int(row) for row in whole(valid)[:, 0]}
    assert len(chosen) == valid.count and valid.count + train.count == COUNT
    assert valid.nbytes == 4 * valid.count
    for epoch in range(2):
        options = {"seed": 9, "epoch": epoch, "rows": 100, "buffer_bytes": 20_000}
        learned = whole(train, **options)[:, 0]
        assert len(learned) == train.count
        assert {int(row) for row in learned} == set(range(COUNT)) - chosen
        np.testing.assert_array_equal(np.sort(whole(valid, **options)[:, 0]), sorted(chosen))
    again = open_rows(path).split(0.2, seed=5)[1]
    np.testing.assert_array_equal(whole(again)[:, 0], sorted(chosen))


def test_a_split_stays_when_files_are_added(tmp_path):
    paths = [tmp_path / "a.parquet", tmp_path / "b.npz"]
    for path, start in zip(paths, (0, 1000), strict=True):
        write_draws(path, {"row": np.arange(start, start + 1000.0)})
    few = whole(open_rows(paths[:1]).split(0.3, seed=0)[1])
    more = whole(open_rows(paths).split(0.3, seed=0)[1])
    np.testing.assert_array_equal(more[more < 1000], few[:, 0])
    assert len(more) > len(few)


def test_the_rows_of_a_split_are_a_fair_sample():
    """Binomial counts within 5 standard deviations: false alarm 6e-7 for each of 43."""
    count = 100_000
    chosen = Sieve(12345, int(0.1 * 2**64)).keeps(0, count)
    for stride in (1, 2, 3, 7, 10, 20):  # no rhythm of an event generator shows
        for start in range(stride):
            part = chosen[start::stride]
            assert abs(part.sum() - 0.1 * len(part)) < 5 * np.sqrt(0.09 * len(part))
    after = chosen[1:][chosen[:-1]]  # nor the neighbour
    assert abs(after.mean() - 0.1) < 5 * np.sqrt(0.09 / len(after))
    np.testing.assert_array_equal(chosen[777:901], Sieve(12345, int(0.1 * 2**64)).keeps(777, 901))


def test_splits_of_other_seeds_and_of_splits_are_independent():
    """Overlaps within 5 standard deviations of the product: false alarm 6e-7 each."""
    rows = open_rows({"row": np.arange(20_000.0)})
    train, valid = rows.split(0.5, seed=1)
    other = rows.split(0.5, seed=2)[1]
    both = np.intersect1d(whole(valid), whole(other))
    assert abs(len(both) - 5000) < 5 * np.sqrt(20_000 * 0.25 * 0.75)
    rest, test = train.split(0.5, seed=1)  # the same seed again
    assert abs(test.count - train.count / 2) < 5 * np.sqrt(train.count / 4)
    everything = np.concatenate([whole(part) for part in (rest, test, valid)])[:, 0]
    np.testing.assert_array_equal(np.sort(everything), np.arange(20_000))


@pytest.mark.parametrize("suffix", FORMATS)
def test_columns_are_chosen_and_ordered_by_name(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", table())
    rows = open_rows(path, ["x", "w[2]", "row"], dtype=np.float64)
    assert rows.names == ("x", "w[2]", "row")
    before = table()
    expected = np.stack([before["x"], before["w"][:, 2], before["row"]], axis=1)
    np.testing.assert_array_equal(whole(rows), expected)
    assert open_rows(path, "w").names == ("w[0]", "w[1]", "w[2]")


def test_a_list_of_files_of_any_format_is_one_table(tmp_path):
    parts = [{k: v[i : i + 1000] for k, v in table().items()} for i in range(0, COUNT, 1000)]
    suffixes = ["parquet", "csv", "npz", "h5", "hdf5"]
    paths = [tmp_path / f"{i}.{suffix}" for i, suffix in enumerate(suffixes)]
    for path, part in zip(paths, parts, strict=True):
        write_draws(path, dict(reversed(part.items())) if path.suffix == ".csv" else part)
    rows = open_rows(paths, dtype=np.float64)
    np.testing.assert_array_equal(whole(rows), np.stack(list(flat(table()).values()), axis=1))
    write_draws(paths[2], parts[2] | {"extra": np.zeros(1000)})
    with pytest.raises(TableError, match=r"2\.npz: its columns differ .*0\.parquet by extra"):
        open_rows(paths)
    assert open_rows(paths, ["row"]).count == COUNT


def test_more_files_than_are_kept_open(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "_OPEN_FILES", 2)
    paths = []
    for i in range(20):
        columns = {"row": np.arange(i * 100.0, (i + 1) * 100)}
        paths.append(write(tmp_path / f"{i}.{FORMATS[i % 4]}", columns, part=50))
    rows = open_rows(paths)
    options = {"rows": 30, "seed": 0, "buffer_bytes": 10_000}
    np.testing.assert_array_equal(np.sort(whole(rows, **options)[:, 0]), np.arange(2000))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
@pytest.mark.parametrize("suffix", FORMATS)
def test_files_are_closed_also_where_the_reading_stops_early(tmp_path, suffix):
    rows = open_rows(write(tmp_path / f"a.{suffix}", table()))
    whole(rows)  # what the libraries keep open for themselves
    before = len(os.listdir("/proc/self/fd"))
    for options in ({}, {"seed": 0}):
        chunks = rows.chunks(10, buffer_bytes=5000, **options)
        next(chunks)
        chunks.close()
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_csv_across_blocks(tmp_path, monkeypatch, end):
    monkeypatch.setattr(sources_arrow, "_CSV_BYTES", 40)
    path = tmp_path / "a.csv"
    lines = ['"long name of a column, in quotes",flag,note,w[1],w[0]']
    lines += [
        f"{i if i % 7 else ''},{'true' if i % 2 else 'false'},a,{-i},{i}.5" for i in range(99)
    ]
    lines[50:50] = [""] * 60  # a block of empty lines
    path.write_text(end.join(lines), newline="")
    with pytest.raises(TableError, match="'note' has the type string"):
        open_rows(path)
    rows = open_rows(path, ["long name of a column, in quotes", "flag", "w"], dtype=np.float64)
    i = np.arange(99.0)
    expected = np.stack([np.where(i % 7, i, np.nan), i % 2, i + 0.5, -i], axis=1)
    np.testing.assert_array_equal(whole(rows), expected)
    np.testing.assert_array_equal(np.sort(whole(rows, seed=0)[:, 2]), i + 0.5)
    np.testing.assert_array_equal(whole(open_rows(path, "w"))[:, 1], -i)


def test_npz_archives_of_other_programs(tmp_path):
    path = tmp_path / "a.npz"
    columns = {
        "rows": np.arange(12.0).reshape(6, 2),
        "fortran": np.asfortranarray(np.arange(18.0).reshape(6, 3)),
        "big": np.arange(6, dtype=">f4"),
        "flag": np.arange(6) % 2 == 0,
    }
    expected = np.stack(list(flat(columns).values()), axis=1)
    for save in (np.savez, np.savez_compressed):
        save(path, **columns)
        for options in ({}, {"rows": 4}):
            np.testing.assert_array_equal(whole(open_rows(path), **options), expected)


def test_parquet_of_other_programs(tmp_path):
    path = tmp_path / "a.parquet"
    columns = {
        "w[1]": pa.array([1, None, 3], pa.int16()),
        "w[0]": pa.array([1.0, 2.0, None], pa.float32()),
        "flag": pa.array([True, None, False]),
        "a.b": pa.array([1, 2, 3]),
        "lists": pa.array([[1], [2, 3], []]),
        "text": ["a", "b", "c"],
        "when": pa.array([1, 2, 3], pa.timestamp("s")),
    }
    pq.write_table(pa.table(columns), path)
    rows = open_rows(path, ["flag", "a.b", "w"])
    expected = [[1, 1, 1, 1], [np.nan, 2, 2, np.nan], [0, 3, np.nan, 3]]
    np.testing.assert_array_equal(whole(rows), expected)
    for name, why in {"lists": "is ragged", "text": "type string", "when": "timestamp"}.items():
        with pytest.raises(TableError, match=rf"a\.parquet: the column '{name}' .*{why}.*choose"):
            open_rows(path, [name, "flag"])
    with pytest.raises(TableError, match="'lists' is ragged"):
        open_rows(path)


def test_hdf5_of_other_programs(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("events/pt", data=np.arange(100.0), chunks=(7,), compression="gzip")
        file["events/id"] = np.arange(100)
        file["version"] = 3
        file["cuts"] = np.zeros(4)
        file["names"] = [b"a"] * 100
        ragged = file.create_dataset("hits", (100,), h5py.vlen_dtype(float))
        ragged[0] = [1.0, 2.0]
    rows = open_rows(path, ["events/pt", "events/id"])
    options = {"rows": 13, "buffer_bytes": 4000}
    np.testing.assert_array_equal(whole(rows, **options), np.stack([np.arange(100.0)] * 2, 1))
    refused = {"version": "one value", "hits": "is ragged", "names": "dtype"}
    for name, why in refused.items():
        with pytest.raises(TableError, match=f"'{name}' .*{why}"):
            open_rows(path, ["events/pt", name])
    with pytest.raises(TableError, match="different numbers of rows: events/pt 100, cuts 4"):
        open_rows(path, ["events/pt", "cuts"])


def test_root_trees_in_parts(tmp_path):
    uproot = pytest.importorskip("uproot", reason="ROOT files need uproot, of the extra hep")
    awkward = pytest.importorskip("awkward")
    path = tmp_path / "a.root"
    hits = awkward.Array([[1.0], [2.0], [3.0], []])  # of one length in all parts but the last
    columns = {"x": np.arange(4.0), "p": np.arange(8.0).reshape(4, 2), "hits": hits}
    with uproot.recreate(path) as file:
        file.mktree("events", {"x": float, "p": (float, (2,)), "hits": "var * float64"})
        file["events"].extend(columns)
        file.mkrntuple("ntuple", columns | {"text": ["a"] * 4})
        file.mktree("empty", {"x": float})
    with pytest.raises(TableError, match="trees events, ntuple, empty: name one"):
        open_rows(path)
    expected = np.stack([columns["p"][:, 0], columns["p"][:, 1], columns["x"]], axis=1)
    for tree in ("events", "ntuple"):
        rows = open_rows(f"{path}:{tree}", ["p", "x"])
        np.testing.assert_array_equal(whole(rows, rows=3, buffer_bytes=1), expected)
        for names in (None, ["x", "hits"]):
            with pytest.raises(TableError, match="'hits' is ragged"):
                open_rows(f"{path}:{tree}", names)
    with pytest.raises(TableError, match="'text' has the type string"):
        open_rows(f"{path}:ntuple", ["text"])
    with pytest.raises(TableError, match="no rows"):
        open_rows(f"{path}:empty")
    with pytest.raises(TableError, match=r"cannot be read as a table: .*none"):
        open_rows(f"{path}:none")


def test_root_in_parts_without_uproot_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "uproot", None)
    with pytest.raises(MissingExtraError, match=r"posterion\[hep\]"):
        open_rows(tmp_path / "a.root")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("seed", [None, 0])
def test_a_file_that_is_cut_while_it_is_read(tmp_path, suffix, seed):
    path = write(tmp_path / f"cut.{suffix}", table(20_000))
    chunks = open_rows(path).chunks(100, seed=seed, buffer_bytes=100_000)
    next(chunks)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(
        TableError, match=rf"cut\.{suffix}, row \d+: it has \d+ bytes, and had \d+ when"
    ):
        list(chunks)


@pytest.mark.parametrize("suffix", ["parquet", "h5", "csv"])
def test_damage_in_the_middle_names_the_file_and_the_row(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(sources_arrow, "_CSV_BYTES", 4000)
    path = tmp_path / f"damaged.{suffix}"
    x = np.random.default_rng(0).normal(size=4000)
    if suffix == "parquet":
        pq.write_table(pa.table({"x": x}), path, compression="gzip", row_group_size=1000)
    elif suffix == "h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=x, chunks=(1000,), fletcher32=True)
    else:
        path.write_text("id,x\n" + "".join(f"0,{value:.15f}\n" for value in x))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    if suffix == "csv":
        middle = data.index(b"\n0,", middle) + 3
    data[middle : middle + 10] = b"not number"
    path.write_bytes(data)
    rows = open_rows(path, ["x"])
    pieces = []
    with pytest.raises(TableError, match=rf"damaged\.{suffix} cannot be read from row [12]\d\d\d"):
        pieces.extend(rows.chunks(100, buffer_bytes=300_000))
    before = np.concatenate(pieces)[:, 0]
    np.testing.assert_array_equal(before, x[: len(before)].astype(np.float32))
    assert len(before) >= 1000


@pytest.mark.parametrize("suffix", FORMATS)
def test_missing_truncated_and_empty_files(tmp_path, suffix):
    with pytest.raises(TableError, match=rf"no file .*none\.{suffix}"):
        if suffix == "root":
            pytest.importorskip("uproot", reason="ROOT files need uproot, of the extra hep")
        open_rows(tmp_path / f"none.{suffix}")
    path = write(tmp_path / f"a.{suffix}", table())
    data = path.read_bytes()
    # CSV has no end mark: it shows where a row is cut, in the last cell it cannot.
    half = (
        data[: data.index(b"\n", len(data) // 2) - 40]
        if suffix == "csv"
        else data[: len(data) // 2]
    )
    for damaged in (b"", half):
        path.write_bytes(damaged)
        with pytest.raises(TableError, match=rf"a\.{suffix}"):
            open_rows(path)
    if suffix != "root":
        write_draws(path, {"x": np.zeros(0), "y": np.zeros(0)})
        with pytest.raises(TableError, match=rf"a\.{suffix}: it has no rows"):
            open_rows(path)


@pytest.mark.parametrize(
    ("arrays", "columns", "error", "message"),
    [
        ({"x": np.zeros(3), "w": np.zeros((3, 2))}, ["q"], TableError, "column q; .* are x, w"),
        ({"x": np.zeros(3), "w": np.zeros((3, 2))}, ["w[2]"], TableError, r"no column w\[2\]"),
        ({"x": np.zeros(3), "w": np.zeros((3, 2))}, ["w", "w[1]"], SettingError, "none twice"),
        ({"x": np.zeros(3)}, [], SettingError, "at least one"),
        ({"x": np.array(["a"])}, None, TableError, "'x' has dtype <U1"),
        ({"x": np.zeros((3, 0))}, None, TableError, r"\(3, 0\)"),
        ({"x": 1.0}, None, TableError, "one value without rows"),
        ({"x": np.zeros(3), "y": np.zeros(2)}, None, TableError, "x 3, y 2"),
        ({"x[0]": np.zeros(3), "x": np.zeros((3, 1))}, None, TableError, "two columns have one"),
        ({"x": np.zeros(0)}, None, TableError, "no rows"),
        ({}, None, TableError, "no rows"),
    ],
)
def test_arrays_that_are_no_table(arrays, columns, error, message):
    with pytest.raises(error, match=message):
        open_rows(arrays, columns)


def test_settings_that_cannot_be(tmp_path):
    with pytest.raises(SettingError, match="the list of files is empty"):
        open_rows([])
    with pytest.raises(SettingError, match=r"none of \.parquet, .*\.root"):
        open_rows(tmp_path / "a.txt")
    with pytest.raises(SettingError, match="choose float32 or float64"):
        open_rows({"x": np.zeros(2)}, dtype=np.int32)
    rows = open_rows({"x": np.arange(4.0)})
    for name, value in {"rows": 0, "seed": -1, "epoch": -1, "buffer_bytes": 0}.items():
        with pytest.raises(SettingError, match=f"{name} is {value}"):
            rows.chunks(**{name: value})
    with pytest.raises(SettingError, match="between 0 and 1"):
        rows.split(1.5, seed=0)
    with pytest.raises(SettingError, match="seed is -1"):
        rows.split(0.5, seed=-1)
    with pytest.raises(SettingError, match=r"leaves one side without any"):
        rows.split(1e-9, seed=0)


def test_what_is_too_large_for_float32_is_infinite_and_does_not_warn():
    rows = open_rows({"x": np.array([1e300, -1e300, np.nan, 1.0])})
    np.testing.assert_array_equal(whole(rows)[:, 0], [np.inf, -np.inf, np.nan, 1])


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux")
@pytest.mark.parametrize("suffix", ["parquet", "h5", "npz", "csv"])
def test_memory_stays_far_below_the_size_of_the_file(tmp_path, run_python, suffix):
    """Peak of a process that has read a small file first, beside one of 64 MB in one piece."""
    count = 4_000_000 if suffix != "csv" else 1_000_000
    x = np.random.default_rng(0).random((4, count), np.float32)
    for name, stop in {"small": 50_000, "large": count}.items():
        path = tmp_path / f"{name}.{suffix}"
        columns = {key: x[i, :stop] for i, key in enumerate("abcd")}
        write_draws(path, columns)  # for Parquet, up to a million rows are one row group
    size = path.stat().st_size
    assert size > 35e6
    code = (
        "import resource, sys\n"
        "from posterion.io import open_rows\n"
        "def peak(path):\n"
        "    rows = open_rows(path)\n"
        "    for seed in (None, 1):\n"
        "        sums = [len(c) for c in rows.chunks(20_000, seed=seed, buffer_bytes=4_000_000)]\n"
        "        assert sum(sums) == rows.count\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "small = peak(sys.argv[1])\n"
        "sys.stdout.write(str(peak(sys.argv[2]) - small))\n"
    )
    grown = int(run_python(code, str(tmp_path / f"small.{suffix}"), str(path)).stdout)
    assert grown < size / 3, f"{grown / 1e6:.0f} MB for a file of {size / 1e6:.0f} MB"
