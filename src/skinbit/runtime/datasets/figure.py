"""Figures on disk, apart from the other stock datasets: runs that draw nothing need not import matplotlib."""

from kedro_datasets.matplotlib import MatplotlibDataset

from skinbit.runtime.datasets.stock import AtomicSave


class FigureDataset(AtomicSave, MatplotlibDataset):
    """A matplotlib figure, previewed by Kedro-Viz."""
