"""Chains on disk: what was written comes back, also after the file was cut off anywhere."""

import numpy as np
import pytest

from posterion.core.errors import CheckpointError
from posterion.emulators.recording import Recording

IDENTITY = {"seed": 1, "rows": 20}


def written(path, blocks=3):
    recording = Recording(path, IDENTITY)
    recording.begin()
    for i in range(blocks):
        recording.append({"done": i}, {"theta": np.full((2, 3), float(i)), "n": np.asarray(i)})
    return recording


def test_blocks_come_back_in_order(tmp_path):
    recording = written(tmp_path / "deep" / "a.chains")
    found = recording.load()
    assert [note["done"] for note, _ in found] == [0, 1, 2]
    np.testing.assert_array_equal(found[2][1]["theta"], np.full((2, 3), 2.0))
    recording.remove()
    assert recording.load() == []


def test_a_file_cut_off_anywhere_goes_on_from_its_last_whole_block(tmp_path):
    whole = written(tmp_path / "a.chains").path.read_bytes()
    ends = [len(written(tmp_path / f"{n}.chains", n).path.read_bytes()) for n in range(4)]
    for size in range(ends[0], len(whole)):
        cut = tmp_path / "cut.chains"
        cut.write_bytes(whole[:size])
        recording = Recording(cut, IDENTITY)
        kept = sum(end <= size for end in ends[1:])
        assert len(recording.load()) == kept
        assert cut.stat().st_size == ends[kept]
    recording.append({"done": 2}, {"theta": np.full((2, 3), 2.0), "n": np.asarray(2)})
    assert cut.read_bytes() == whole


def test_a_flipped_bit_ends_what_is_believed(tmp_path):
    path = written(tmp_path / "a.chains").path
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(raw)
    assert len(Recording(path, IDENTITY).load()) == 2


def test_another_run_s_file_is_refused_and_no_recording_too(tmp_path):
    path = written(tmp_path / "a.chains").path
    with pytest.raises(CheckpointError, match="different: rows, seed"):
        Recording(path, {"seed": 2, "rows": 3}).load()
    path.write_bytes(b"something else that is long enough to have a head")
    with pytest.raises(CheckpointError, match="no recording"):
        Recording(path, IDENTITY).load()


def test_without_a_path_nothing_is_kept(tmp_path):
    recording = Recording(None, IDENTITY)
    recording.begin()
    recording.append({"done": 1}, {})
    assert recording.load() == []
