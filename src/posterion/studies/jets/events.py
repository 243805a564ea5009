"""Pairs of generated and reconstructed jets: Pythia 8, a parametrised detector, FastJet.

Jets of QCD in proton-proton collisions at 13 TeV, anti-kt with R = 0.4. Hard scatterings are
chosen with a bias of pT^4, so that jets are about as many in each interval of log pT; jets are
used without weights. For p(reco | gen) their spectrum does not matter; for p(gen | reco) it is the
prior.
"""

import time
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import MissingExtraError, SampleError
from posterion.studies.jets.detector import Detector, respond
from posterion.studies.jets.kinematics import NAMES, jets_of_momenta, match

__all__ = ["COLUMNS", "PYTHIA", "Generator", "has_generator", "selected"]

Floats = NDArray[np.float64]

RADIUS = 0.4
MATCHED = 0.2
"""Distance of a reconstructed jet from the generated one that it belongs to, at most."""

PT, ETA = (20.0, 500.0), 2.5
"""Jets that are learned from: of the condition, in GeV, and in pseudorapidity."""

_LEAST = 5.0  # GeV, of any jet that is clustered
_BATCH = 200

COLUMNS = (
    "event",
    "jet",
    *(f"{kind}_{name}" for kind in ("gen", "reco", "again") for name in NAMES),
)
"""Of the tables; ``again`` is the detector's response to the same particles once more."""

PYTHIA = (
    "Print:quiet = on",
    "Beams:eCM = 13000.",
    "HardQCD:all = on",
    "PhaseSpace:pTHatMin = 15.",
    "PhaseSpace:bias2Selection = on",
    "PhaseSpace:bias2SelectionPow = 4.",
    "PhaseSpace:bias2SelectionRef = 15.",
    "Random:setSeed = on",
)

_INVISIBLE = (12, 14, 16)
_NEUTRAL = (22, 130, 310, 2112, 3122, 3322)
_LIGHT = (11, 22)


def has_generator() -> bool:
    """Whether Pythia and FastJet are installed."""
    try:
        _libraries()
    except ImportError:
        return False
    return True


def _libraries() -> tuple[Any, Any]:
    """Pythia and FastJet, by name: type checkers need neither."""
    return import_module("pythia8mc"), import_module("fastjet")


def selected(pt: Floats, eta: Floats) -> NDArray[np.bool_]:
    """Which jets are within `PT` and `ETA`."""
    return (pt >= PT[0]) & (pt < PT[1]) & (np.abs(eta) < ETA)


@dataclass
class Generator:
    """Events of one seed, one batch after the other.

    Attributes:
        seed: of Pythia and of the detector.
        detector: its numbers.
        seconds: spent on events, clustering and response.
        events: made so far.
    """

    seed: int
    detector: Detector = field(default_factory=Detector)
    seconds: dict[str, float] = field(
        default_factory=lambda: {"Pythia": 0.0, "FastJet": 0.0, "response": 0.0}
    )
    events: int = 0

    def __post_init__(self) -> None:
        try:
            pythia8mc, fastjet = _libraries()
        except ImportError as error:
            raise MissingExtraError(
                "events need Pythia 8 and FastJet: pip install 'posterion[hep]'"
            ) from error
        self._rng = np.random.default_rng([self.seed, 11])
        self._pythia = pythia8mc.Pythia("", False)
        self._definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
        own = int(np.random.default_rng([self.seed, 13]).integers(1, 900_000_000))
        for line in (*PYTHIA, f"Random:seed = {own}"):
            if not self._pythia.readString(line):
                raise SampleError(f"Pythia does not take the setting {line!r}")
        if not self._pythia.init():
            raise SampleError("Pythia could not be initialised")

    def pairs(self, count: int) -> dict[str, NDArray[Any]]:
        """As many pairs as asked for, in `COLUMNS`.

        A pair is kept if one of its two jets is within `PT` and `ETA`.

        Raises:
            SampleError: Pythia gives no events, or events no jets.
        """
        parts: list[dict[str, NDArray[Any]]] = []
        found = 0
        while found < count:
            part = self._batch()
            parts.append(part)
            found += len(part["event"])
            if len(parts) > 100 and found < len(parts):
                raise SampleError(f"{len(parts) * _BATCH} events gave {found} pairs of jets")
        return {name: np.concatenate([p[name] for p in parts])[:count] for name in COLUMNS}

    def _batch(self) -> dict[str, NDArray[Any]]:
        import awkward as ak

        began = time.perf_counter()
        events: Any = self._pythia.nextBatch(_BATCH)
        number = len(events)
        if number == 0:
            raise SampleError("Pythia gave no event: it failed too often")
        particles: Any = events.prt
        size = abs(particles.id)
        stable = particles.status > 0
        for code in _INVISIBLE:
            stable = stable & (size != code)
        particles = particles[stable]
        counts = ak.to_numpy(ak.num(particles.id))
        code = np.abs(ak.to_numpy(ak.flatten(particles.id)))
        p = np.stack(
            [ak.to_numpy(ak.flatten(particles.p[name])) for name in ("px", "py", "pz", "e")], axis=1
        )
        began = self._spent("Pythia", began)
        generated = self._clustered(p, counts)
        began = self._spent("FastJet", began)
        charged = ~np.isin(code, _NEUTRAL)
        measured = []
        for _ in range(2):
            seen, good = respond(
                jets_of_momenta(p), charged, np.isin(code, _LIGHT), self._rng, self.detector
            )
            left = np.add.reduceat(np.append(good, False).astype(np.intp), _starts(counts))
            began = self._spent("response", began)
            measured.append(self._clustered(seen[good], left))
            began = self._spent("FastJet", began)
        table = _paired(generated, *measured)
        table["event"] = table["event"] + self.events
        self.events += number
        self._spent("response", began)
        return table

    def _spent(self, what: str, began: float) -> float:
        now = time.perf_counter()
        self.seconds[what] += now - began
        return now

    def _clustered(self, p: Floats, counts: NDArray[np.intp]) -> Floats:
        """Jets ``(events, most, 4)`` by falling pT, NaN where an event has fewer."""
        import awkward as ak

        _, fastjet = _libraries()
        columns = {name: ak.unflatten(p[:, i], counts) for i, name in enumerate(("px", "py", "pz"))}
        columns["E"] = ak.unflatten(p[:, 3], counts)
        rows: Any = ak.zip(columns, with_name="Momentum4D")
        jets: Any = fastjet.ClusterSequence(rows, self._definition).inclusive_jets(_LEAST)
        most = max(1, int(ak.max(ak.num(jets.px), initial=0)))
        padded = [
            ak.to_numpy(ak.fill_none(ak.pad_none(jets[name], most, clip=True), np.nan))
            for name in ("px", "py", "pz", "E")
        ]
        found = jets_of_momenta(np.stack(padded, axis=-1))
        order = np.argsort(-np.nan_to_num(found[..., 0], nan=-1.0), axis=1, kind="stable")
        return np.take_along_axis(found, order[..., None], axis=1)


def _starts(counts: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.cumsum(counts) - counts


def _paired(generated: Floats, reco: Floats, again: Floats) -> dict[str, NDArray[Any]]:
    """The table of jets that both responses gave."""
    first, second = match(generated, reco, MATCHED), match(generated, again, MATCHED)
    width = generated.shape[1]
    _, i, j = np.intersect1d(
        first[:, 0] * width + first[:, 1], second[:, 0] * width + second[:, 1], return_indices=True
    )
    first, second = first[i], second[j]
    event, place = first[:, 0], first[:, 1]
    jets = {
        "gen": generated[event, place],
        "reco": reco[event, first[:, 2]],
        "again": again[event, second[:, 2]],
    }
    keep = np.zeros(len(event), bool)
    for rows in jets.values():
        keep |= selected(rows[:, 0], rows[:, 1])
    table: dict[str, NDArray[Any]] = {"event": event[keep], "jet": place[keep]}
    for kind, rows in jets.items():
        table |= {f"{kind}_{name}": rows[keep, i] for i, name in enumerate(NAMES)}
    return table
