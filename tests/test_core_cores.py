"""Rows in chunks."""

import numpy as np
import pytest

from posterion.core.cores import chunks, usable_cores


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 11, 95])
def test_every_row_is_met_once_in_chunks_of_one_size(rows):
    met = np.zeros(rows, int)
    found = list(chunks(rows, 10))
    for number, start, stop in found:
        met[start:stop] += 1
        assert start == 10 * number and 0 < stop - start <= 10
    assert (met == 1).all()
    assert len(found) == -(-rows // 10)


def test_there_is_a_core():
    assert usable_cores() >= 1
