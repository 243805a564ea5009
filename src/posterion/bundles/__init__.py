"""The ``.posterion`` file: a result with its card, that loads without the density.

A bundle is a ZIP archive of three members, stored uncompressed in this order:

- ``card.json``: what it is, for people and programs in any language (UTF-8, strict JSON): name,
  parameters with units, supports and priors, health, provenance, citations, licence, publication,
  versions, settings, history, and under ``object`` the architecture. ``card-1.schema.json`` beside
  this page is its schema. Numbers that JSON lacks are ``{"float": "nan" | "inf" | "-inf"}``.
- ``arrays.safetensors``: the numbers of the architecture, by the names that ``object`` gives them.
- ``checksums.json``: ``sha256:...`` of each of the two.

The archive's comment is its seal: ``posterion sha256`` and the digest of all bytes before the
digest itself. The same content always gives the same bytes.

Nothing in a bundle is executable: ``object`` names classes that Posterion registered
(`posterion.core.registry`), and their fields. A file of a newer format is refused by its
``format_version``; files of older ones are read for good. Every failure is a
`posterion.errors.BundleError`.

Without Posterion, a card and its arrays are read with any ZIP and safetensors library:

>>> import json, tempfile, zipfile
>>> import numpy as np
>>> from posterion import bundles
>>> path = tempfile.mkdtemp() + "/line.posterion"
>>> bundles.save_object(path, {"slope": np.array([2.0])}, {"kind": "example", "name": "line"})
>>> json.loads(zipfile.ZipFile(path).read("card.json"))["name"]
'line'
>>> bundles.load_object(path)
{'slope': array([2.])}
"""

from posterion.bundles.archive import FORMAT_VERSION, MAX_BYTES
from posterion.bundles.card import describe, parameter_entry, result_card
from posterion.bundles.publication import metric_rows, publication_facts, publish
from posterion.bundles.store import load_object, read, read_card, save_object, write

__all__ = [
    "FORMAT_VERSION",
    "MAX_BYTES",
    "describe",
    "load_object",
    "metric_rows",
    "parameter_entry",
    "publication_facts",
    "publish",
    "read",
    "read_card",
    "result_card",
    "save_object",
    "write",
]
