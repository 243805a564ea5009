"""Rows in chunks, a thread for each core."""

import threading

import numpy as np
import pytest

from posterion.core.cores import on_cores, usable_cores


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 11, 95])
def test_every_row_is_met_once_in_chunks_of_one_size(rows):
    met, sizes = np.zeros(rows, int), {}

    def work(number, start, stop):
        met[start:stop] += 1
        sizes[number] = (start, stop - start)

    on_cores(work, rows, chunk=10)
    assert (met == 1).all()
    assert sorted(sizes) == list(range(-(-rows // 10)))
    assert all(start == 10 * number for number, (start, _) in sizes.items())
    assert all(size == min(10, rows - start) for start, size in sizes.values())


def test_the_first_chunk_is_done_before_the_others_begin():
    order, caller = [], []

    def work(number, start, stop):
        order.append(number)
        caller.append(threading.current_thread() is threading.main_thread())

    on_cores(work, 100, chunk=10)
    assert order[0] == 0 and caller[0]
    assert not any(caller[1:])


def test_what_goes_wrong_in_a_thread_is_raised():
    def work(number, start, stop):
        if number == 3:
            raise ValueError("chunk 3")

    with pytest.raises(ValueError, match="chunk 3"):
        on_cores(work, 50, chunk=10)


def test_there_is_a_core():
    assert usable_cores() >= 1
