"""Files that resemble the name of a missing photograph: another spelling, format or folder."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from pathlib import PurePosixPath

from skinbit.data.file_names import FORMATS, is_hidden, is_photograph, suffix_of, without_formats, without_suffix
from skinbit.data.ids import fold_case, fold_number, printable
from skinbit.data.unusable import CONVERT

_SHOWN = 3

SEARCH = "let subfolders be read, too: --params data.subfolders=true"
_WITHOUT_SUFFIX = "write image_id without a suffix, or put the file that it names into the folder"
_LAST_SUFFIX = "rename the files, or write image_id as the file name without only its last suffix"
_SPELLING = "make image_id and file name equal: correct the table, or rename the files"


class NearMisses:
    """Names in a folder and its subfolders, looked up by similarity to an image id."""

    def __init__(self, paths: Iterable[str], searched: bool) -> None:
        """Index the names by their common forms.

        Args:
            paths: Paths of files inside the folder, photographs or not.
            searched: Whether subfolders are searched for photographs.
        """
        self._searched = searched
        self._paths: dict[Hashable, list[str]] = defaultdict(list)
        for path in paths:
            if not is_hidden(path) and (is_photograph(path) or suffix_of(path) in FORMATS):
                self._paths[_core(path)].append(path)

    def explain(self, image_id: str) -> tuple[str, str]:
        """Return what exists instead of a missing photograph, and the remedy; or two empty texts.

        Args:
            image_id: Image id without a file.
        """
        found = [(*self._judge(image_id, path), path) for path in self._paths.get(_core(image_id), ())]
        if not found:
            return "", ""
        _, remedy, what, _ = min(found)
        names = [printable(path) for _, other, _, path in sorted(found) if other == remedy]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"there is {', '.join(names[:_SHOWN])}{more}, {what}", remedy

    def _judge(self, image_id: str, path: str) -> tuple[int, str, str]:
        """Return how different a file's name is from the missing one, the remedy, and the difference in words."""
        if not is_photograph(path):
            return 3, CONVERT, "in an unsupported format"
        if "/" in path and not self._searched:
            return 2, SEARCH, "in a subfolder"
        name, asked = (path, image_id) if "/" in image_id else (PurePosixPath(path).name, image_id)
        if without_formats(asked) != without_formats(name):
            return 1, _SPELLING, "spelt differently"
        if without_formats(asked) != without_suffix(name):
            return 0, _LAST_SUFFIX, "with a suffix before its last one"
        return 0, _WITHOUT_SUFFIX, "with another suffix"


def _core(path: str) -> Hashable:
    return fold_number(fold_case(without_formats(PurePosixPath(path).name)))
