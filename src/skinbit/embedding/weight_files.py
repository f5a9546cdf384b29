"""Files of weights: where they are, what they are when they are none, and whether they are those of a network."""

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
"""Bytes of a safetensors file that say how long its header is."""

_MOST_HEADER = 100_000_000
"""Longer headers the safetensors library does not read."""

_KINDS = (
    (b"version https://git-lfs", "a git-lfs pointer, which only stands for the file: `git lfs pull` fetches the file"),
    (b"<", "a web page: the address of the file itself has /resolve/ in it, not /blob/"),
    (b"{", "a text in JSON"),
    (b"PK\x03\x04", "a pickle as PyTorch saves it, or an archive, and Skinbit opens neither"),
    (b"\x80", "a pickle, and Skinbit opens none"),
    (b"\x89HDF", "an HDF5 file, as Keras saves it"),
)


def find_weights(params: BackboneParams) -> str | None:
    """Return the safetensors file of a backbone's weights, downloaded if need be; none if the seed draws them.

    Raises:
        InputError: If there is none, or it is no whole safetensors file; says what it is.
    """
    if not params.pretrained:
        return None
    file = os.path.expanduser(params.weights) if params.weights else find_published(params, explain_start)
    _check_whole(params, file)
    return file


def explain_start(start: bytes) -> str | None:
    """Return what a file is that begins with some bytes; none if it may be a safetensors file.

    Args:
        start: The first 64 bytes, or all of a shorter file.
    """
    length = int.from_bytes(start[:_LENGTH], "little")
    if start[_LENGTH : _LENGTH + 1] == b"{" and length <= _MOST_HEADER:
        return None
    if not start:
        return "an empty file"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((kind for begin, kind in _KINDS if text.startswith(begin)), "no safetensors file")


def _check_whole(params: BackboneParams, file: str) -> None:
    try:
        if not S_ISREG(os.stat(file).st_mode):
            raise refuse(
                params,
                f"the weights file {_name(file)} is no file, but a folder, a pipe or a device",
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
            "name a file, absolute or relative to the folder that the command runs in.",
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
    return f"{'cut short' if size < whole else 'too long'}: it has {size} bytes, and its header speaks of {whole}"


def check_complete(params: BackboneParams, file: str, network: Module, absent: list[str]) -> None:
    """Check that a file filled every tensor of a network: half random weights give plausible figures.

    Args:
        params: Of the backbone.
        file: Its weights.
        network: As timm returns it, pruned to the levels in use.
        absent: Names of its tensors that were not filled.

    Raises:
        InputError: If there are any; lists them, or says that the file is of another network.
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
        "give weights of the whole backbone, or pool only levels that they cover (pooling.levels).",
    )


def explain_misfit(params: BackboneParams, file: str, network: Mapping[str, Tensor]) -> InputError:
    """Return the error that says why a weights file does not fit a network: of another one, of another size, in part.

    Args:
        params: Of the backbone.
        file: Whole and readable.
        network: Its tensors by name.
    """
    with safe_open(file, "pt") as opened:
        held = {name: list(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118  # no mapping
    asked = {name.removeprefix("model."): list(tensor.shape) for name, tensor in network.items()}
    shared = asked.keys() & held.keys()
    other = [name for name in asked if name in shared and asked[name] != held[name] and not _is_resampled(name)]
    if 2 * len(shared) < len(asked):
        what = (
            f"is of another network: it holds {len(shared)} of the {len(asked)} tensors of {params.model}, and "
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
        "name the file of this model in backbones.<name>.weights, or in backbones.<name>.model the model of this file.",
    )


def _is_resampled(name: str) -> bool:
    """Whether timm adapts a tensor to the size of the images."""
    return "pos_embed" in name or "rel_pos" in name or "relative_position" in name


def _name(file: str) -> str:
    return Path(file).name


def _replace(params: BackboneParams, file: str) -> str:
    if params.weights is None:  # …/models--timm--name/snapshots/revision/file
        return f"remove the folder {Path(file).parents[2].name} of the hub's cache; the next run downloads it again."
    return "download the .safetensors file again, as a whole, or name another one in backbones.<name>.weights."
