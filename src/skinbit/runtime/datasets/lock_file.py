"""The file that pins all software."""

import hashlib
from typing import NoReturn

from kedro.io import DatasetError

from skinbit.runtime.datasets.files import FileDataset
from skinbit.runtime.provenance import ABSENT


class LockFileDataset(FileDataset[NoReturn, str | None]):
    """Loads the SHA-256 of a lock file; None without one, as in a project installed without uv."""

    def load(self) -> str | None:
        """Hash the file."""
        return hashlib.sha256(self._read()).hexdigest() if self._fs.exists(self._path) else None

    def save(self, data: NoReturn) -> None:
        """Refuse: a package manager writes this file."""
        raise DatasetError("a lock file is read-only")

    def fingerprint(self) -> str:
        """Return the hash of the file; a missing file has a fingerprint, too."""
        return self.load() or ABSENT

    def _exists(self) -> bool:
        return True
