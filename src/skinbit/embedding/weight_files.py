"""Weights files: where they are, what invalid ones are instead, and whether they fit a network."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from stat import S_ISREG

from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import Module

from skinbit.config import BackboneParams
from skinbit.embedding.hub import find_published
from skinbit.embedding.weights import refuse
from skinbit.errors import SHOWN_PER_KIND, InputError
from skinbit.refusals import explain_reading

_LENGTH = 8
"""Number of bytes at the start of a safetensors file that hold the length of its header."""

_MOST_HEADER = 100_000_000
"""Longest header that the safetensors library reads."""

_KINDS = (
    (b"version https://git-lfs", "a git-lfs pointer instead of the file: `git lfs pull` fetches the file"),
    (b"<", "a web page: the address of the file itself has /resolve/ in it, not /blob/"),
    (b"{", "a text in JSON"),
    (b"PK\x03\x04", "a pickle of PyTorch or an archive, and Skinbit opens neither"),
    (b"\x80", "a pickle, which Skinbit never opens"),
    (b"\x89HDF", "an HDF5 file of Keras"),
)


def find_weights(params: BackboneParams) -> str | None:
    """Return the safetensors file of a backbone's weights, downloaded if necessary; None if they are random.

    Raises:
        InputError: If it does not exist or is not a complete safetensors file; with what it is instead.
    """
    if not params.pretrained:
        return None
    file = os.path.expanduser(params.weights) if params.weights else find_published(params, explain_start)
    _check_whole(params, file)
    return file


def explain_start(start: bytes) -> str | None:
    """Return what a file with these first bytes is; None if it may be a safetensors file.

    Args:
        start: The first 64 bytes, or all of a shorter file.
    """
    length = int.from_bytes(start[:_LENGTH], "little")
    if start[_LENGTH : _LENGTH + 1] == b"{" and length <= _MOST_HEADER:
        return None
    if not start:
        return "an empty file"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((kind for begin, kind in _KINDS if text.startswith(begin)), "not a safetensors file")


def _check_whole(params: BackboneParams, file: str) -> None:
    try:
        if not S_ISREG(os.stat(file).st_mode):
            raise refuse(
                params,
                f"the weights file {_name(file)} is not a file, but a folder, a pipe or a device",
                "name the file itself in backbones.<name>.weights.",
            )
        with open(file, "rb") as opened:
            start = opened.read(64)
        kind = explain_start(start)
        if kind is not None:
            raise refuse(params, f"the weights file {_name(file)} is {kind}", _replace(params, file))
        with safe_open(file, "pt"):
            return
    except FileNotFoundError as error:
        raise refuse(
            params,
            f"the weights file {file} does not exist",
            "name a file; relative paths start at the working folder.",
        ) from error
    except OSError as error:
        why, remedy = explain_reading(error)
        raise refuse(
            params,
            f"the weights file {_name(file)} cannot be read: {why}",
            f"{remedy}, or name another file in backbones.<name>.weights.",
        ) from error
    except SafetensorError as error:
        raise refuse(
            params, f"the weights file {_name(file)} is {_explain_damage(file)}", _replace(params, file)
        ) from error


def _explain_damage(file: str) -> str:
    size = Path(file).stat().st_size
    with open(file, "rb") as opened:
        length = int.from_bytes(opened.read(_LENGTH), "little")
        header = opened.read(length)
    if len(header) < length:
        return f"cut short: it has {size} bytes, which is not even its whole header"
    try:
        ends = [entry["data_offsets"][1] for name, entry in json.loads(header).items() if name != "__metadata__"]
        whole = _LENGTH + length + max(ends, default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "damaged: its header makes no sense"
    if size == whole:
        return "damaged: its header contradicts itself"
    return f"{'cut short' if size < whole else 'too long'}: it has {size} bytes, but its header needs {whole}"


def check_complete(params: BackboneParams, file: str, network: Module, absent: list[str]) -> None:
    """Check that a file filled every tensor of a network, as half-random weights have plausible metrics.

    Args:
        params: Settings of the backbone.
        file: The weights file.
        network: Network as timm returns it, pruned to the levels in use.
        absent: Names of tensors that were not filled.

    Raises:
        InputError: If there are any, or the file belongs to another network.
    """
    tensors = network.state_dict()
    if 2 * len(absent) > len(tensors):
        raise explain_misfit(params, file, tensors)
    if absent:
        raise _lacking(params, file, absent)


def _lacking(params: BackboneParams, file: str, absent: list[str]) -> InputError:
    shown = ", ".join(absent[:SHOWN_PER_KIND]) + (" …" if len(absent) > SHOWN_PER_KIND else "")
    return refuse(
        params,
        f"the weights file {_name(file)} lacks {len(absent)} of its tensors: {shown}",
        "use weights of the whole backbone, or pool only levels that they cover (pooling.levels).",
    )


def explain_misfit(params: BackboneParams, file: str, network: Mapping[str, Tensor]) -> InputError:
    """Return the error for a weights file that does not fit a network: another network, another size, or incomplete.

    Args:
        params: Settings of the backbone.
        file: A complete, readable weights file.
        network: Tensors of the network by name.
    """
    with safe_open(file, "pt") as opened:
        held = {name: list(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118  # no mapping
    asked = {name.removeprefix("model."): list(tensor.shape) for name, tensor in network.items()}
    shared = asked.keys() & held.keys()
    other = [name for name in asked if name in shared and asked[name] != held[name] and not _is_resampled(name)]
    if 2 * len(shared) < len(asked):
        what = (
            f"is of another network: it has {len(shared)} of the {len(asked)} tensors of {params.model}, and "
            f"begins with {next(iter(held), 'none')}"
        )
    elif other:
        name, more = other[0], f", and {len(other) - 1} more differ" if len(other) > 1 else ""
        what = f"is of a network of another size: {name} is {held[name]}, not {asked[name]}{more}"
    elif asked.keys() > shared:
        return _lacking(params, file, [name for name in asked if name not in shared])
    else:
        what = f"cannot be loaded into {params.model}: they differ in a way that timm does not expect"
    return refuse(
        params,
        f"the weights file {_name(file)} {what}",
        "set backbones.<name>.weights to the file of this model, or backbones.<name>.model to the model of this file.",
    )


def _is_resampled(name: str) -> bool:
    """Whether timm adapts a tensor to the image size."""
    return "pos_embed" in name or "rel_pos" in name or "relative_position" in name


def _name(file: str) -> str:
    return Path(file).name


def _replace(params: BackboneParams, file: str) -> str:
    if params.weights is None:  # …/models--timm--name/snapshots/revision/file
        return f"remove the folder {Path(file).parents[2].name} of the hub's cache; the next run downloads it again."
    return "download the .safetensors file again, as a whole, or name another one in backbones.<name>.weights."
