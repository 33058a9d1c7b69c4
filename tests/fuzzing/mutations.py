"""Mutations of valid files: of their bytes, and of the values that their format holds.

Every mutation draws from a `random.Random`, so that hypothesis can draw too, and a seed gives the same file again.
"""

import copy
import functools
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from random import Random

import numpy as np
import yaml

Mutation = Callable[[Random, bytes], bytes]

_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, 1000.0, 1e300, float("nan"), float("inf"), -float("inf"))
_TEXTS = (
    "", " ", "\0", "\n", "smoke\n", "=cmd|' /C calc'!A0", "\x1b[31mred", "\ud800", "\u2028", "../../x", "/dev/zero",
    "<b>&|*_`", "9" * 5000, "a" * 100_000, ".", "nan", "1e999", "train", "test", "\N{COMBINING ACUTE ACCENT}" * 3,
    "-rf",
)  # fmt: skip
_BYTES = (b"", b"\0", b"\xff", b"\n", b"{", b"[", b"]" * 20, b'"', b",", b"\x80\x04", b"\xef\xbb\xbf", b"\xff\xfe",
          b"\x7f\xff\xff\xff", b"\xff" * 8, b"9" * 400, b"[" * 3000, b"&a [*a]", b"NaN", b"1e999")  # fmt: skip
_SHAPES = ((), (0,), (1,), (3,), (2, 2), (1, 0, 2))
_TYPES = ("<i4", "<i8", "<u8", "<f4", "<f8", "|b1", "|u1", "<U3", "|S2", "<c8", ">i4", "<M8[s]")


def mutate_bytes(random: Random, data: bytes) -> bytes:
    """Return bytes with a few spans changed, deleted, repeated or replaced, or cut."""
    for _ in range(random.randrange(1, 4)):
        first = random.randrange(len(data) + 1)
        last = min(len(data), first + random.choice((0, 1, 1, 2, 4, 8, 64, len(data))))
        kind = random.randrange(6)
        if kind == 0:
            data = data[:first] + bytes([random.randrange(256)]) + data[first + 1 :]
        elif kind == 1:
            data = data[:first] + data[last:]
        elif kind == 2:
            data = data[:last] + data[first:last] + data[last:]
        elif kind == 3:
            data = data[:first] + random.choice(_BYTES) + data[last:]
        elif kind == 4:
            data = data[:first]
        elif first < len(data):
            data = data[:first] + bytes([data[first] ^ 1 << random.randrange(8)]) + data[first + 1 :]
    return data[: 1 << 20]


def hostile_value(random: Random, value: object) -> object:
    """Return a value to put in the place of `value`: of another type, hostile, or nested."""
    kind = random.randrange(8)
    if kind < 3:
        return random.choice(_TEXTS)
    if kind < 5:
        return random.choice(_NUMBERS)
    return random.choice((None, True, False, [], {}, [value], {"a": value}, [[[]]], [value] * 3, {"": None}))


def mutate_value(random: Random, value: object) -> object:
    """Return a copy of nested lists and dictionaries in which a few entries are changed, deleted, added or swapped."""
    value = copy.deepcopy(value)
    for _ in range(random.randrange(1, 4)):
        value = _mutate_entry(random, value)
    return value


def _mutate_entry(random: Random, value: object) -> object:
    if not isinstance(value, (list, dict)) or not value or random.randrange(12) == 0:
        return hostile_value(random, value)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key, kind = random.choice(keys), random.randrange(10)
    if kind < 6:
        value[key] = _mutate_entry(random, value[key])
    elif kind == 6:
        del value[key]
    elif kind == 7:
        value[key] = value[random.choice(keys)]
    elif isinstance(value, list):
        value.insert(key, hostile_value(random, value[key]))
    else:
        value[random.choice((*_TEXTS, f"{key}x"))] = hostile_value(random, value[key])
    return value


def _or_bytes(structural: Mutation) -> Mutation:
    """Return a mutation that is `structural` in three of four cases, and of the bytes otherwise."""

    def mutate(random: Random, data: bytes) -> bytes:
        return mutate_bytes(random, data) if random.randrange(4) == 0 else structural(random, data)

    return mutate


def _json(random: Random, data: bytes) -> bytes:
    return json.dumps(mutate_value(random, json.loads(data))).encode()


def _json_lines(random: Random, data: bytes) -> bytes:
    rows = mutate_value(random, [json.loads(line) for line in data.splitlines()])
    rows = rows if isinstance(rows, list) else [rows]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


_read_yaml = functools.cache(yaml.safe_load)  # the valid file is the same at every mutation


def _yaml(random: Random, data: bytes) -> bytes:
    value = mutate_value(random, _read_yaml(data))
    if random.randrange(8) == 0 and isinstance(value, dict):
        value[random.choice((1, 0.5, None, True))] = value.get(random.choice(list(value)) if value else None)
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")


def _lines(random: Random, data: bytes) -> bytes:
    """Mutate the cells of lines that commas, tabs or spaces separate."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    for _ in range(random.randrange(1, 4)):
        at = random.randrange(len(lines))
        kind = random.randrange(5)
        separator = next((each for each in ("\t", ",", " ") if each in lines[at]), " ")
        cells = lines[at].split(separator)
        if kind < 2:
            cells[random.randrange(len(cells))] = str(hostile_value(random, None))
            lines[at] = separator.join(cells)
        elif kind == 2:
            lines[at] = separator.join(cells[:-1])
        elif kind == 3:
            lines.insert(at, random.choice(lines))
        elif len(lines) > 1:
            del lines[at]
    return "\n".join(lines).encode("utf-8", "replace")


def _pickle(random: Random, data: bytes) -> bytes:
    value = mutate_value(random, pickle.loads(data))
    return pickle.dumps(value, random.randrange(5))


def _array(random: Random, array: np.ndarray) -> np.ndarray:
    """Return an array of another shape, type or with other values."""
    kind = random.randrange(5)
    if kind == 0:
        return np.zeros(random.choice(_SHAPES), random.choice(_TYPES))
    if kind == 1:
        return array[: random.randrange(len(array) + 1)] if array.ndim else array[None]
    if kind == 2:
        return array[None] if random.randrange(2) else array.ravel()
    if kind == 3 and array.dtype.kind in "if" and array.size:
        array = array.copy()
        numbers = _NUMBERS if array.dtype.kind == "f" else (0, -1, 1, 7, 2**31 - 1)
        with np.errstate(over="ignore"):
            array.flat[random.randrange(array.size)] = random.choice(numbers)
        return array
    with np.errstate(all="ignore"):
        return array.astype(random.choice(("<f8", "<i4", "|b1"))) if array.dtype.kind in "ifb" else array


def _npy(random: Random, data: bytes) -> bytes:
    file = io.BytesIO()
    np.save(file, _array(random, np.load(io.BytesIO(data))))
    return file.getvalue()


def _npz(random: Random, data: bytes) -> bytes:
    """Change arrays, leave them out, damage a member's bytes, or pack pickled objects."""
    with np.load(io.BytesIO(data)) as stored:
        arrays = dict(stored)
    name, kind, file = random.choice(sorted(arrays)), random.randrange(5), io.BytesIO()
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[name] = np.array([{"a": 1}, None], dtype=object)
    elif kind in (2, 3):
        arrays[name] = _array(random, arrays[name])
    if kind != 4:
        np.savez(file, **arrays)
        return file.getvalue()
    return _zip(random, data)


def _zip(random: Random, data: bytes) -> bytes:
    """Damage the bytes of one member of a zip archive, whose checksums stay right."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(file, "w") as out:
        names = source.namelist()
        chosen = random.choice(names)
        for name in names:
            content = source.read(name)
            method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            out.writestr(name, mutate_bytes(random, content) if name == chosen else content, method)
    return file.getvalue()


def _safetensors(random: Random, data: bytes) -> bytes:
    """Change the header, whose length stays right."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.dumps(mutate_value(random, json.loads(data[8 : 8 + length]))).encode()
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


BYTES: Mutation = mutate_bytes
JSON, JSON_LINES, YAML, LINES = map(_or_bytes, (_json, _json_lines, _yaml, _lines))
PICKLE, NPY, NPZ, ZIP, SAFETENSORS = map(_or_bytes, (_pickle, _npy, _npz, _zip, _safetensors))
