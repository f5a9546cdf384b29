"""What a power cut leaves of a folder: a file system may lose whatever was not synced, names and bytes apart."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tests.faults.disk import Call


@dataclass
class Remains:
    """The names and bytes of a folder, as programs see them and as they are on the disk.

    Files and folders are numbered by the calls that made them.

    Attributes:
        seen: Number of each file and folder, by path.
        held: The same on the disk; what is in a folder counts if the folder itself is there.
        folders: Numbers of the folders.
        synced: By number of a file, the call that synced its bytes last.
    """

    seen: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    folders: set[int] = field(default_factory=set)
    synced: dict[int, int] = field(default_factory=dict)

    def apply(self, number: int, call: Call) -> None:
        """Do what a call does to names and bytes."""
        if call.is_refused:
            return
        if call.kind in ("open", "mkdir") and call.path not in self.seen and call.path != ".":
            self.seen[call.path] = number
            self.folders |= {number} if call.kind == "mkdir" else set()
        elif call.kind == "replace":
            self.seen[call.target] = self.seen.pop(call.path)
        elif call.kind in ("unlink", "rmdir"):
            self.seen.pop(call.path, None)
        elif call.kind == "fsync" and self.seen.get(call.path, -1) not in self.folders | {-1}:
            self.synced[self.seen[call.path]] = number
        elif call.kind == "fsync":
            of_others = {path: held for path, held in self.held.items() if _folder(path) != call.path}
            self.held = of_others | {path: seen for path, seen in self.seen.items() if _folder(path) == call.path}

    def after_cut(self, are_names_kept: Callable[[str], bool]) -> dict[str, int]:
        """Return number by path of what is left.

        Args:
            are_names_kept: Of a folder: whether its names survive though it was not synced.
        """
        left = {path: number for path, number in self.seen.items() if are_names_kept(_folder(path))}
        left |= {path: number for path, number in self.held.items() if not are_names_kept(_folder(path))}
        return {
            path: number
            for path, number in sorted(left.items())
            if all(str(above) in left for above in PurePosixPath(path).parents if str(above) != ".")
        }


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)
