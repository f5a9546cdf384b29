"""Tables that others write, and documents that need not exist."""

import pandas as pd

from skinbit.runtime.datasets.stock import JSONDataset
from skinbit.runtime.datasets.supplied_table import SuppliedTableDataset


def test_a_supplied_table_is_known_by_its_content(tmp_path):
    path = tmp_path / "split.csv"
    dataset = SuppliedTableDataset(filepath=path.as_posix(), load_args={"dtype": "str"})
    dataset.save(pd.DataFrame({"image_id": ["a"], "fold": ["0"]}))
    first = dataset.fingerprint()
    path.write_text("image_id,fold\na,1\n")
    assert dataset.fingerprint() != first
    path.write_text("image_id,fold\na,0\n")
    assert dataset.fingerprint() == first


def test_an_optional_document_that_does_not_exist_is_empty(tmp_path):
    dataset = JSONDataset(filepath=(tmp_path / "audit.json").as_posix(), optional=True)
    assert dataset.load() == {}
    dataset.save({"counts": 1})
    assert dataset.load() == {"counts": 1}
