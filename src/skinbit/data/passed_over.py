"""What a folder holds beside the photographs that are read from it, and why it is passed over."""

from collections import Counter

from skinbit.data.file_names import ARCHIVES, FORMATS, SUFFIXES, TABLES_AND_TEXTS, is_hidden, suffix_of
from skinbit.data.ids import printable
from skinbit.data.images import ImageFolder

_SHOWN = 5
_READ = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"


def list_passed_over(folder: ImageFolder) -> list[tuple[str, str]]:
    """Return ``file, reason`` of everything in a folder that is not read; what nobody expects to be read, in one line.

    Args:
        folder: From :func:`skinbit.data.images.find_images`.
    """
    folders = _explain_folders(folder) if any(name.endswith("/") for name in folder.others) else {}
    reasons = {name: folders.get(name) or _explain(name) for name in folder.others}
    common = Counter(_COMMON[reason] for reason in reasons.values() if reason in _COMMON)
    listed = sorted(reasons.items(), key=lambda each: not each[0].endswith("/"))  # folders first
    one_by_one = [(printable(name), reason) for name, reason in listed if reason not in _COMMON]
    return [*one_by_one, *((f"{number} {what}", reason) for (what, reason), number in sorted(common.items()))]


_HIDDEN, _TEXT, _EMPTY = "hidden", "text", "empty folder"
_COMMON = {
    _HIDDEN: ("hidden files or folders", "their names begin with a dot"),
    _TEXT: ("tables, texts and the like", "no photographs, by their suffixes"),
    _EMPTY: ("folders", "there is no photograph in them"),
}


def _explain(name: str) -> str:
    if is_hidden(name):
        return _HIDDEN
    suffix = suffix_of(name)
    if suffix in FORMATS:
        return f"{FORMATS[suffix]} is not read; convert it to JPEG or PNG"
    if suffix in ARCHIVES:
        return "an archive; unpack it"
    if suffix in TABLES_AND_TEXTS or name.lower() == "thumbs.db":
        return _TEXT
    what = f"a file with the suffix {printable(suffix)}" if suffix else "a file without a suffix"
    return f"{what}; only {_READ} are read"


def _explain_folders(folder: ImageFolder) -> dict[str, str]:
    """Return why folders are passed over, by their names with a slash; but for hidden ones."""
    below = folder.deep
    unread = [path for path in below.others if suffix_of(path) in FORMATS]
    paths = [*(path for paths in below.files.values() for path in paths), *unread]
    numbers = Counter(f"{path.partition('/')[0]}/" for path in paths if "/" in path)
    not_walked = set(below.others)

    def explain(name: str) -> str:
        if name in not_walked:
            return "a link to a folder, which is not followed, or a folder that cannot be listed"
        if numbers[name]:
            return f"a folder with {numbers[name]} photographs, not searched; data.subfolders=true reads it"
        return _EMPTY

    return {name: explain(name) for name in folder.others if name.endswith("/") and not is_hidden(name)}


def explain_nothing(folder: ImageFolder, where: str) -> str:
    """Return why there is no photograph to read in a folder, and the remedy.

    Args:
        folder: Without a photograph that is read.
        where: What a user is to do where there is nothing at all.
    """
    if not folder.fs.exists(folder.root):
        return f"The image folder {folder.root} does not exist.\n  Remedy: {where}."
    if not folder.fs.isdir(folder.root):
        return f"The image folder {folder.root} is a file.\n  Remedy: {where}."
    listed = list_passed_over(folder)
    lines = [f"  - {name}: {reason}" for name, reason in listed[:_SHOWN]]
    if len(listed) > _SHOWN:
        lines.append(f"  … and {len(listed) - _SHOWN} more")
    reasons = " ".join(reason for _, reason in listed)
    remedies = [
        *(["read the folders below: --params data.subfolders=true"] if "data.subfolders" in reasons else []),
        *(["convert the files to JPEG or PNG"] if "convert it" in reasons else []),
        *(["unpack the archives"] if "unpack it" in reasons else []),
    ]
    holds = "\n".join(["; it holds:", *lines]) if lines else "; it is empty."
    remedy = "; ".join(remedies) or where
    return f"The image folder {folder.root} holds no photograph that can be read{holds}\n  Remedy: {remedy}."
