"""Tables in and out: draws to Parquet, CSV, NPZ and HDF5, and columns from these and ROOT.

>>> import tempfile
>>> import numpy as np
>>> from posterion.io import read_metadata, read_table, write_draws
>>> path = tempfile.mkdtemp() + "/draws.parquet"
>>> write_draws(path, {"mass": np.array([1.0, 2.0]), "w": np.zeros((2, 3))}, units={"mass": "GeV"})
>>> {name: column.shape for name, column in read_table(path).items()}
{'mass': (2,), 'w': (2, 3)}
>>> read_metadata(path)["units"]
{'mass': 'GeV'}
"""

from posterion.io.streams import Rows, open_rows
from posterion.io.tables import read_metadata, read_table, table_format, write_draws

__all__ = ["Rows", "open_rows", "read_metadata", "read_table", "table_format", "write_draws"]
