"""A catalog that knows what made its files, so that ``--only-missing-outputs`` trusts what it finds.

Kedro asks a catalog whether an output exists; here it exists only if it would be made the same way again. All state
lives in the catalog, which ParallelRunner hands to its workers, whatever way it starts them.
"""

from collections.abc import Mapping
from typing import Any

from kedro.framework.context import CatalogCommandsMixin
from kedro.io import DataCatalog, SharedMemoryDataCatalog

from skinbit.datasets.fingerprints import FingerprintsDataset
from skinbit.fingerprints import ABSENT, Recipe, Record

_RECORDS = "fingerprints"
"""The entry of the catalog that holds the records."""


class StudyCatalog(DataCatalog, CatalogCommandsMixin):
    """Writes a record of what made a dataset whenever one is saved, and leaves out datasets whose record fails.

    Outside of a run nothing is known about what makes a dataset: saving then removes its record, and what exists is
    what is there.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._records: FingerprintsDataset = self[_RECORDS]
        self._recipes: Mapping[str, Recipe | None] = {}
        self._stale: set[str] = set()

    def fingerprint(self, name: str) -> str | None:
        """Give the fingerprint of a dataset as it is now.

        Args:
            name: Of an input that the run at hand does not make.

        Returns:
            That of its recipe, where its record is about the files that are there; else that of its content, where
            the dataset can tell (raw data); None where nobody knows what made it.
        """
        dataset = self.get(name)
        if dataset is None:
            return None
        if not dataset.exists():
            return ABSENT
        record, content = self._records.read(name), self._content(name)
        return record.recipe.fingerprint if record is not None and record.content == content else content

    def expect(self, recipes: Mapping[str, Recipe | None]) -> None:
        """Note what will make every output of the run at hand.

        Args:
            recipes: By output; None where it depends on something unknown.
        """
        self._recipes = recipes

    def find_stale(self) -> dict[str, tuple[str, ...]]:
        """Compare all records with what is expected; what differs no longer exists for Kedro.

        Returns:
            What has changed since, by output that would be made differently now; empty where there is no record to
            compare with.
        """
        records = self._records.load()
        stale = {name: self._changes(name, recipe, records.get(name)) for name, recipe in self._recipes.items()}
        changed = {name: changes for name, changes in stale.items() if changes is not None}
        self._stale = set(changed)
        return changed

    def _changes(self, name: str, recipe: Recipe | None, record: Record | None) -> tuple[str, ...] | None:
        """Give what has changed since a record was written; None where the record holds."""
        if recipe is None or record is None:
            return ()
        if recipe.fingerprint != record.recipe.fingerprint:
            return recipe.differences(record.recipe)
        return None if record.content == self._content(name) else (f"files of {name}",)

    def exists(self, ds_name: str) -> bool:
        """Tell whether a dataset exists and, in a run for missing outputs, would be made the same way again."""
        return ds_name not in self._stale and bool(super().exists(ds_name))

    def save(self, ds_name: str, data: Any) -> None:
        """Save a dataset; a run that ends in the middle leaves it without a record."""
        self._records.forget(ds_name)
        super().save(ds_name, data)
        recipe = self._recipes.get(ds_name)
        if recipe is not None:
            self._records.save({ds_name: Record(recipe=recipe, content=self._content(ds_name))})
            self._stale.discard(ds_name)

    def _content(self, name: str) -> str | None:
        """Hash the files of a dataset that others write too; None for all others, and where it cannot be read."""
        hash_content = getattr(self[name], "fingerprint", None)
        try:
            return None if hash_content is None else str(hash_content())
        except OSError:  # the node that needs the file says what is wrong with it
            return None


class SharedStudyCatalog(StudyCatalog, SharedMemoryDataCatalog):
    """The same for ParallelRunner."""
