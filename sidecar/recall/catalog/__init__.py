"""The catalog: all collections below one data folder, by name.

What can be done with them is one file each; catalog.py is the whole, kept.py what all share.
"""

from sidecar.recall.catalog.catalog import Catalog

__all__ = ["Catalog"]
