"""Files and folders beside the photographs that are not read, with the reasons."""

from collections import Counter
from dataclasses import dataclass

from skinbit.data.file_names import ARCHIVES, FORMATS, READ_SUFFIXES, TABLES_AND_TEXTS, is_hidden, suffix_of
from skinbit.data.ids import printable
from skinbit.data.images import ImageFolder

_SHOWN = 5


@dataclass(frozen=True)
class _Kind:
    """A kind of file or folder that is not read.

    Attributes:
        reason: Reason why it is not read.
        remedy: What makes it readable; empty if nothing does.
        together: Heading under which all of this kind are counted; empty: each is listed.
    """

    reason: str
    remedy: str = ""
    together: str = ""


_HIDDEN = _Kind("their names begin with a dot", together="hidden files or folders")
_TEXT = _Kind("not photographs, by their suffixes", together="tables, texts and the like")
_EMPTY = _Kind("without photographs", together="folders")
_ARCHIVE = _Kind("an archive; unpack it", "unpack the archives")
_LINK = _Kind("a link to a folder, which is not followed")


def list_passed_over(folder: ImageFolder) -> list[tuple[str, str]]:
    """Return ``file, reason`` of everything in a folder that is not read; obviously unrelated files are counted.

    Args:
        folder: From :func:`skinbit.data.images.find_images`.
    """
    kinds = _kinds_by_name(folder)
    common = Counter(kind for kind in kinds.values() if kind.together)
    one_by_one = [(printable(name), kind.reason) for name, kind in kinds.items() if not kind.together]
    counted = sorted(common.items(), key=lambda each: each[0].together)
    return [*one_by_one, *((f"{number} {kind.together}", kind.reason) for kind, number in counted)]


def _kinds_by_name(folder: ImageFolder) -> dict[str, _Kind]:
    folders = _kinds_of_folders(folder) if any(name.endswith("/") for name in folder.others) else {}
    names = sorted(folder.others, key=lambda name: not name.endswith("/"))  # folders first
    return {name: folders.get(name) or _kind_of_file(name) for name in names}


def _kind_of_file(name: str) -> _Kind:
    if is_hidden(name):
        return _HIDDEN
    suffix = suffix_of(name)
    if suffix in FORMATS:
        return _Kind(f"{FORMATS[suffix]} is unsupported; convert it to JPEG or PNG", "convert the files to JPEG or PNG")
    if suffix in ARCHIVES:
        return _ARCHIVE
    if suffix in TABLES_AND_TEXTS or name.lower() == "thumbs.db":
        return _TEXT
    what = f"a file with the suffix {printable(suffix)}" if suffix else "a file without a suffix"
    return _Kind(f"{what}; only {READ_SUFFIXES} are read")


def _kinds_of_folders(folder: ImageFolder) -> dict[str, _Kind]:
    """Return the kinds of folders, except hidden ones, by their names with a slash."""
    below = folder.deep
    unread = [path for path in below.others if suffix_of(path) in FORMATS]
    paths = [*(path for paths in below.files.values() for path in paths), *unread]
    numbers = Counter(f"{path.partition('/')[0]}/" for path in paths if "/" in path)
    not_walked = set(below.others)

    def kind_of(name: str) -> _Kind:
        if name in below.closed:
            why, remedy = below.closed[name]
            return _Kind(f"a folder that cannot be listed: {why}", remedy)
        if name in not_walked:
            return _LINK
        if numbers[name]:
            said = f"a folder with {numbers[name]} photographs, not searched; data.subfolders=true reads it"
            return _Kind(said, "read subfolders: --params data.subfolders=true")
        return _EMPTY

    return {name: kind_of(name) for name in folder.others if name.endswith("/") and not is_hidden(name)}


def explain_nothing(folder: ImageFolder, where: str) -> str:
    """Return why a folder has no photograph to read, with the remedy.

    Args:
        folder: Folder without a readable photograph.
        where: Remedy if there is nothing at all.
    """
    if not folder.fs.exists(folder.root):
        return f"The image folder {folder.root} does not exist.\n  Remedy: {where}."
    if not folder.fs.isdir(folder.root):
        return f"The image folder {folder.root} is a file.\n  Remedy: {where}."
    listed = list_passed_over(folder)
    lines = [f"  - {name}: {reason}" for name, reason in listed[:_SHOWN]]
    if len(listed) > _SHOWN:
        lines.append(f"  … and {len(listed) - _SHOWN} more")
    remedies = dict.fromkeys(kind.remedy for kind in _kinds_by_name(folder).values() if kind.remedy)
    holds = "\n".join(["; it holds:", *lines]) if lines else "; it is empty."
    remedy = "; ".join(remedies) or where
    return f"The image folder {folder.root} has no photograph that can be read{holds}\n  Remedy: {remedy}."
