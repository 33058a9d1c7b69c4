"""Reading of files of unknown origin: regular files only, of a bounded size, decoded by their byte order mark."""

import codecs
import errno
import json
import os
import stat
from pathlib import Path

import yaml

from dmgan.errors import UserError

MAX_JSON_BYTES = 1 << 30  # about ten times COCO's captions_train2017.json
MAX_TEXT_BYTES = 256 << 20  # of a list of captions
MAX_YAML_BYTES = 1 << 20
_MAX_YAML_VALUES = 100_000  # with every alias written out
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)


def read_regular_file(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file of at most `limit` bytes.

    OSError, whose `strerror` states the reason, if the file cannot be read, is larger, or is a pipe or a device, which
    may never end.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL byte, or half a surrogate pair
        raise OSError(errno.EINVAL, "its name cannot be a file name") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"it holds {status.st_size:,} bytes, more than {limit:,}")
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
        return json.loads(text)
    except RecursionError as error:
        raise UserError(f"{where}: its JSON is nested too deep; {hint}") from error
    except ValueError as error:
        raise UserError(f"{where}: is not valid JSON ({error}); {hint}") from error


def read_json(path: Path, hint: str) -> object:
    """Read JSON from `path`; UserError that ends with `hint` if the file is missing, too large or broken."""
    return parse_json(read_text(path, hint, MAX_JSON_BYTES), str(path), hint)


def read_yaml(path: Path, hint: str) -> object:
    """Read YAML from `path`; UserError that ends with `hint` if the file is missing, broken, or repeats a key.

    Aliases that would expand to more values than a configuration has, or that contain themselves, are refused too.
    """
    text = read_text(path, hint, MAX_YAML_BYTES)
    try:
        loader = yaml.SafeLoader(text)
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
