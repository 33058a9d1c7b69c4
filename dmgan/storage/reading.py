"""Reading of files of unknown origin: regular files only, of a bounded size, decoded by their byte order mark."""

import codecs
import errno
import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import yaml

from dmgan.errors import UserError
from dmgan.storage.json_hash import SEAL, seal_is_whole

MAX_JSON_BYTES = 1 << 30  # about ten times COCO's captions_train2017.json
MAX_TEXT_BYTES = 256 << 20  # of a list of captions
MAX_YAML_BYTES = 1 << 16  # about eight times the largest configuration; PyYAML reads a megabyte in ten seconds
_MAX_DIGITS = 300  # of a whole number; float64 ends at 1.8e308
_MAX_YAML_DEPTH = 50  # a scanner of deeper flow collections takes quadratic time
_MAX_YAML_VALUES = 100_000  # with every alias written out
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)


def open_regular_file(path: Path) -> BinaryIO:
    """Open a regular file for reading bytes.

    OSError, whose `strerror` states the reason, if the file cannot be read, or is a pipe or a device, which may never
    end.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL byte, or half a surrogate pair
        raise OSError(errno.EINVAL, "its name cannot be a file name") from error
    try:
        if stat.S_ISDIR(mode := os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_regular_file(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file of at most `limit` bytes; OSError as in `open_regular_file`, or if larger."""
    with open_regular_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"it holds {size:,} bytes, more than {limit:,}")
        return file.read(limit)


def decode_text(data: bytes, errors: str = "strict") -> str:
    """Return bytes as text: UTF-8, or UTF-16 and UTF-32 if their byte order mark comes first; the mark is dropped."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    return data.decode(encoding, errors)


def read_text(path: Path, hint: str, limit: int = MAX_TEXT_BYTES) -> str:
    """Return the text of a file; UserError that ends with `hint` if it cannot be read or is no text."""
    try:
        text = decode_text(read_regular_file(path, limit))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {hint}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not text in UTF-8 ({error.reason} at byte {error.start}); {hint}") from error
    if "\0" in text:
        raise UserError(f"{path}: is not text: it holds NUL characters; save it as UTF-8; {hint}")
    return text


def parse_json(text: str, where: str, hint: str) -> object:
    """Return the value of a JSON text; UserError that begins with `where` and ends with `hint` if it is invalid."""
    try:
        return json.loads(text, parse_int=_whole_number)
    except RecursionError as error:
        raise UserError(f"{where}: its JSON is nested too deep; {hint}") from error
    except ValueError as error:
        raise UserError(f"{where}: is not valid JSON ({error}); {hint}") from error


def _whole_number(digits: str) -> int:
    """Return a whole number that can be compared with a float; ValueError if it is larger."""
    if len(digits.removeprefix("-")) > _MAX_DIGITS:
        raise ValueError(f"a whole number has more than {_MAX_DIGITS} digits")
    return int(digits)


def read_json(path: Path, hint: str, check: bool = True) -> object:
    """Read JSON from `path`; UserError that ends with `hint` if the file is missing, too large or broken.

    UserError also if the file is a result (dmgan/storage/seals.py) that was altered after it was written, unless
    check=False.
    """
    content = parse_json(read_text(path, hint, MAX_JSON_BYTES), str(path), hint)
    try:
        altered = check and isinstance(content, dict) and not seal_is_whole(content)
    except RecursionError as error:  # a writer reaches the limit before a reader does
        raise UserError(f"{path}: its JSON is nested too deep; {hint}") from error
    if altered:
        raise UserError(
            f"{path}: was altered after it was written: {SEAL} is the hash of another content; {hint}, or delete that "
            "entry to accept the file as it is"
        )
    return content


def read_object(path: Path, hint: str, entries: Mapping[str, object], check: bool = True) -> dict:
    """Read a JSON object; UserError that ends with `hint` if it is broken or an entry is missing or of another type.

    check: as in `read_json`.

    entries: name -> expected type: int, float (a finite number), str (text in UTF-8), bool, None, list, object (any
    value), dict, a dictionary of such entries, a list [T] for a list of T, or a tuple of alternatives. An entry whose
    name ends with "?" may be missing. Entries that are not named are not checked.
    """
    return check_entries(read_json(path, hint, check), dict(entries), path, hint)


def check_entries(content: object, expected: object, path: Path, hint: str) -> object:
    """Return the content of a JSON file if it has the expected type, as in `read_object`; UserError otherwise."""
    if wrong := _mismatch(content, expected, ""):
        raise UserError(f"{path}: is damaged ({wrong}); {hint}")
    return content


_WORDS = {
    int: "a whole number", float: "a finite number", str: "text", bool: "true or false", None: "null", list: "a list",
    dict: "an object",
}  # fmt: skip


def _mismatch(value: object, expected: object, place: str) -> str:
    """Return how a JSON value differs from the expected type, for `read_object`; "" if it does not differ."""
    if isinstance(expected, tuple):
        found = [_mismatch(value, each, place) for each in expected]
        return found[0] if all(found) else ""
    if isinstance(expected, dict) and isinstance(value, dict):
        for name, each in expected.items():
            key = name.removesuffix("?")
            inner = f"{place}.{key}" if place else key
            if key not in value:
                if key == name:
                    return f"no entry {inner}"
            elif wrong := _mismatch(value[key], each, inner):
                return wrong
        return ""
    if isinstance(expected, list) and isinstance(value, list):
        wrong = (_mismatch(each, expected[0], f"{place}[{number}]") for number, each in enumerate(value))
        return next(filter(None, wrong), "")
    kind = type(expected) if isinstance(expected, (dict, list)) else expected
    if kind is object or _has_type(value, kind):
        return ""
    return f"{place or 'its content'} is not {_WORDS[kind]}"


def _has_type(value: object, kind: type | None) -> bool:
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    if kind is str:
        return isinstance(value, str) and not any("\ud800" <= each <= "\udfff" for each in value)
    return value is None if kind is None else type(value) is kind


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its type if it has none."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def read_yaml(path: Path, hint: str) -> object:
    """Read YAML from `path`; UserError that ends with `hint` if the file is missing, broken, or repeats a key.

    Aliases that would expand to more values than a configuration has, or that contain themselves, are refused too.
    """
    text = read_text(path, hint, MAX_YAML_BYTES)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count_values(node, {})
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not YAML ({' '.join(str(error).split())}); {hint}") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}; {hint}") from error
    except RecursionError as error:
        raise UserError(f"{path}: its YAML is nested too deep; {hint}") from error


class _Loader(yaml.SafeLoader):
    """Loader of plain values that refuses deep nesting before it is read."""

    depth = 0

    def compose_node(self, parent, index):
        if self.depth >= _MAX_YAML_DEPTH:
            raise RecursionError
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def fetch_flow_collection_start(self, TokenClass):
        """Stop the scanner, which looks a thousand characters ahead, in time quadratic in the depth."""
        if self.flow_level >= _MAX_YAML_DEPTH:
            raise RecursionError
        super().fetch_flow_collection_start(TokenClass)

    def construct_yaml_int(self, node):
        """Return a whole number that can be compared with a float; hexadecimal ones have no limit of their own."""
        value = super().construct_yaml_int(node)
        if abs(value) >= 10**_MAX_DIGITS:
            raise ValueError(f"line {node.start_mark.line + 1}: a whole number has more than {_MAX_DIGITS} digits")
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _count_values(node: yaml.Node, counts: dict[int, int | None]) -> int:
    """Return the number of values of a node with its aliases written out; ValueError if there are too many.

    ValueError also if a mapping repeats a key. counts: of the nodes that are done, by id; None while a node is counted.
    """
    if id(node) in counts:
        if counts[id(node)] is None:
            raise ValueError(f"line {node.start_mark.line + 1}: an alias contains itself")
        return counts[id(node)]
    counts[id(node)] = None
    children = [] if isinstance(node, yaml.ScalarNode) else node.value
    if isinstance(node, yaml.MappingNode):
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in keys:
                    raise ValueError(f"line {key.start_mark.line + 1}: the key {key.value} occurs more than once")
                keys.add((key.tag, key.value))
        children = [value for _, value in node.value]
    count = 1 + sum(_count_values(each, counts) for each in children)
    if count > _MAX_YAML_VALUES:
        raise ValueError(f"its aliases expand to more than {_MAX_YAML_VALUES:,} values")
    counts[id(node)] = count
    return count
