"""A table that anyone may have written."""

import hashlib

from skinbit.runtime.datasets.stock import CSVDataset


class SuppliedTableDataset(CSVDataset):
    """A pandas table with the fingerprint of its content, as anyone may have edited or supplied it."""

    def fingerprint(self) -> str:
        """Hash the file."""
        return hashlib.sha256(self._fs.cat_file(str(self._filepath))).hexdigest()
