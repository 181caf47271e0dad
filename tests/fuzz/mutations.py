"""Random changes of bytes, of JSON trees, and of the columns of data files."""

import copy
import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

from deepnets.storage.column_reader import content_hash

_HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, -(2**70), 10**400, 0.5, -0.0, 1e308, float("nan"),
    float("inf"),     "", "0", "nan", "a" * 5000, "../../x", "/", "\x1b[31m", "line\nbreak", "\ud800",
    "=HYPERLINK(1)", "<script>", "٣",
    [], {}, [[]], [None], {"": None}, [0] * 300, {"a": {"b": {"c": []}}},
)  # fmt: skip
_NUMBERS = (0, 1, -1, 2, 7, 8, 15, 16, 200, 255, 256, 65535, 2**31, 2**32 - 1, 2**62, -(2**63), 0.5, np.nan, np.inf)
_TYPES = (
    "uint8",
    "int8",
    "uint16",
    "uint32",
    "int64",
    "uint64",
    ">i8",
    "float32",
    "float64",
    "bool",
    "S4",
    "complex64",
)


def changed_bytes(data: bytes, rng: Random) -> bytes:
    """Return data with flipped, lost, added, repeated or zeroed bytes."""
    content, kind = bytearray(data), rng.randrange(6)
    if not content:
        return rng.randbytes(20)
    at = rng.randrange(len(content))
    if kind <= 1:
        for _ in range(rng.choice((1, 1, 2, 8, 100))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == 2:
        del content[at:]
    elif kind == 3:
        content[at:at] = rng.randbytes(rng.choice((1, 8, 1000)))
    elif kind == 4:
        content[at : at + 64] = bytes(len(content[at : at + 64]))
    else:
        source = rng.randrange(len(content))
        content[at : at + 32] = content[source : source + 32]
    return bytes(content)


def changed_tree(content: Any, rng: Random) -> Any:
    """Return a JSON value in which one to three members are replaced, removed, doubled or moved."""
    result = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(result))
        if not places:
            return rng.choice(_HOSTILE)
        parent, key = rng.choice(places)
        kind = rng.randrange(8)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif kind == 2:
            other, place = rng.choice(places)
            parent[key] = copy.deepcopy(other[place])
        elif kind == 3 and isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
            real = float(max(-(2**53), min(parent[key], 2**53)))
            parent[key] = rng.choice((parent[key] + 1, -parent[key], parent[key] * 1000, real))
        elif kind == 4 and isinstance(parent, dict):
            parent[rng.choice(("", "x", key.upper(), key + "_"))] = parent.pop(key)
        else:
            parent[key] = copy.deepcopy(rng.choice(_HOSTILE))
    return result


def _places(content: Any) -> Any:
    """Yield each container of a JSON value with each of its keys."""
    members = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in members:
        yield content, key
        yield from _places(value)


def changed_json(content: Any, rng: Random) -> bytes:
    """Return a changed JSON value as text, or its text with changed bytes, or nested more deeply than Python reads."""
    kind = rng.randrange(10)
    if kind == 0:
        return changed_bytes(json.dumps(content).encode(), rng)
    if kind == 1:
        return rng.choice((b"[" * 200_000, b'{"a":' * 100_000, b"9" * 5000, b"\xff\xfe", b"", b"null", b"[]", b'""'))
    return json.dumps(changed_tree(content, rng)).encode("utf-8", "surrogatepass")


def change_columns(path: Path, rng: Random) -> None:
    """Change columns or attributes of a data file, and make its checksums right again."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for _ in range(rng.choice((1, 1, 2))):
            if rng.randrange(5) == 0:
                _change_attribute(file, rng)
            else:
                _change_column(file, rng.choice(names), rng)
        _seal(file)


def _change_attribute(file: h5py.File, rng: Random) -> None:
    name = rng.choice(list(file.attrs))
    if rng.randrange(4) == 0:
        del file.attrs[name]
        return
    file.attrs[name] = rng.choice((b"", b"x" * 3000, b"train", b"../x", b"\xff", -1, 0, 2**62, 0.5, np.inf, [1, 2]))


def _change_column(file: h5py.File, name: str, rng: Random) -> None:
    if name not in file or not isinstance(file[name], h5py.Dataset):
        return
    values, kind = file[name][()], rng.randrange(9)
    flat = np.ascontiguousarray(values).reshape(-1)
    if kind <= 3 and flat.size and flat.dtype.kind in "iuf":
        number = rng.choice(_NUMBERS)
        with np.errstate(all="ignore"):
            flat[rng.randrange(flat.size)] = np.array(number).astype(flat.dtype)
        values = flat.reshape(values.shape)
    elif kind == 4 and flat.size > 1:
        a, b = rng.randrange(flat.size), rng.randrange(flat.size)
        flat[[a, b]] = flat[[b, a]]
        values = flat.reshape(values.shape)
    elif kind == 5 and values.dtype.kind in "iuf":
        with np.errstate(all="ignore"):
            values = values.astype(rng.choice(_TYPES))
    elif kind == 6:
        values = rng.choice((values[:-1], values[:0], values[None], values.reshape(-1, 1), flat, np.float64(3)))
    elif kind == 7:
        values = values[: rng.randrange(len(values) + 1)] if values.ndim else values
    del file[name]
    if kind == 8:
        _replace_by_other(file, name, values, rng)
    else:
        file.create_dataset(name, data=values)


def _replace_by_other(file: h5py.File, name: str, values: Any, rng: Random) -> None:
    """Put something in the place of a column that is none, or is stored in another way."""
    kind = rng.randrange(6)
    if kind == 0:
        file[name] = h5py.SoftLink("/graphs/op")
    elif kind == 1:
        file[name] = h5py.ExternalLink("other.hdf5", "/x")
    elif kind == 2:
        file.create_group(name)
    elif kind == 3:
        shape = (2**40, *values.shape[1:])
        file.create_dataset(name, shape=shape, dtype=values.dtype, chunks=(2**16, *values.shape[1:]))
    elif kind == 4 and values.size:
        file.create_dataset(name, data=values, chunks=(max(1, len(values) // 2), *values.shape[1:]), compression="gzip")
    elif kind == 5:
        file.create_dataset(name, shape=(2**33,), dtype="uint8", chunks=(2**20,), compression="gzip")


def _seal(file: h5py.File) -> None:
    """Write the checksums of the columns, and the hash of the file."""
    checksums: dict[str, str] = {}

    def seal(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.nbytes < 2**28:
            checksums[name] = hashlib.sha256(np.ascontiguousarray(item[()]).tobytes()).hexdigest()
            item.attrs["sha256"] = np.bytes_(checksums[name])

    file.visititems(seal)
    if {"split", "seed", "content_sha256"} <= set(file.attrs):
        split, seed = file.attrs["split"], file.attrs["seed"]
        named = (
            split.decode("utf-8", "replace")
            if isinstance(split, bytes)
            else str(split).encode("utf-8", "replace").decode()
        )
        number = int(seed) if isinstance(seed, int | np.integer) else 0
        file.attrs["content_sha256"] = np.bytes_(content_hash(named, number, checksums))
