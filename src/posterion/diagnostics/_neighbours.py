"""Nearest neighbours, and steepest ascent over their graph."""

import numpy as np
from numpy.typing import NDArray

from posterion.diagnostics._arrays import Floats

_TREE_DIMENSIONS = 8  # beyond, comparing all pairs is faster than a tree
_BLOCK = 4096
_REACH = 2.0


def nearest(x: Floats, reference: Floats) -> NDArray[np.intp]:
    """The index of the nearest of the reference points (r, d) for each of x (n, d)."""
    if x.shape[1] <= _TREE_DIMENSIONS:
        from scipy.spatial import KDTree

        return np.asarray(KDTree(reference).query(x)[1], dtype=np.intp)
    half = np.square(reference).sum(axis=1) / 2
    blocks = [x[i : i + _BLOCK] for i in range(0, x.shape[0], _BLOCK)]
    return np.concatenate([np.argmin(half - block @ reference.T, axis=1) for block in blocks])


def neighbour_edges(x: Floats, neighbours: int) -> tuple[NDArray[np.intp], Floats]:
    """Pairs of near points, and the distance of each point's last neighbour.

    One of the pair is among the other's nearest, and not farther away than twice the reach of its
    own neighbours: a thin tail stays connected, a small group far from a dense one does not.

    Returns:
        (e, 2) indices, both directions; (n,) radii.
    """
    from scipy.spatial import KDTree

    n = x.shape[0]
    k = min(neighbours, n - 1)
    if k < 1:
        return np.empty((0, 2), dtype=np.intp), np.ones(n)
    distance, index = KDTree(x).query(x, k=k + 1)
    distance, index = np.asarray(distance), np.asarray(index, dtype=np.intp)
    radius = distance[:, -1]
    near = distance <= _REACH * radius[index]
    near[:, 0] = False
    pairs = np.stack([np.nonzero(near)[0], index[near]], axis=1)
    return np.concatenate([pairs, pairs[:, ::-1]]), radius


def ascend(edges: NDArray[np.intp], height: Floats) -> NDArray[np.intp]:
    """The peak that each point reaches by going to its highest neighbour again and again: (n,)."""
    n = height.size
    order = np.lexsort((np.arange(n), height))
    rank = np.empty(n, dtype=np.intp)
    rank[order] = np.arange(n)  # ties broken, so that no circle of equals arises
    best = rank.copy()
    np.maximum.at(best, edges[:, 0], rank[edges[:, 1]])
    parent = order[best]
    while not np.array_equal(parent, parent[parent]):
        parent = parent[parent]
    return parent


def merge_shallow(
    root: NDArray[np.intp], edges: NDArray[np.intp], height: Floats, depth: float
) -> NDArray[np.intp]:
    """Join peaks whose valley is less than ``depth`` below the lower one, highest saddles first."""
    a, b = root[edges[:, 0]], root[edges[:, 1]]
    across = a != b
    saddle = np.minimum(height[edges[across, 0]], height[edges[across, 1]])
    pairs = np.stack([a[across], b[across]], axis=1)
    leader = np.arange(height.size)

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = int(leader[i])
        return i

    for j in np.argsort(-saddle, kind="stable"):
        low, high = find(int(pairs[j, 0])), find(int(pairs[j, 1]))
        if low == high:
            continue
        if height[low] > height[high]:
            low, high = high, low
        if height[low] - saddle[j] < depth:
            leader[low] = high
    return np.array([find(int(i)) for i in root], dtype=np.intp)
