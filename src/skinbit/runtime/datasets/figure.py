"""Figures, apart from the other stock datasets so that only runs that draw import matplotlib."""

from kedro_datasets.matplotlib import MatplotlibDataset

from skinbit.runtime.datasets.stock import AtomicSave


class FigureDataset(AtomicSave, MatplotlibDataset):
    """A matplotlib figure, previewed by Kedro-Viz."""
