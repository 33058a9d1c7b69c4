"""Safe reading of pickle files that hold only containers, strings and numbers.

This interpreter knows only the opcodes of plain data. It has no opcode that imports, calls or builds an object, so
that a malicious file cannot execute code. Lengths that a file states are checked against the file's size.
"""

import codecs
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path

from dmgan.errors import UserError
from dmgan.storage.reading import read_regular_file

MAX_BYTES = 64 << 20  # about three times COCO's captions.pickle
_MAX_OBJECTS = 5_000_000  # containers and memoised objects, which need far more RAM than their bytes in the file
_MAX_VALUES = 20_000_000  # strings, numbers and references, which are one byte or more; about three times COCO's
_MAX_DEPTH = 32
_HINT = "give the captions.pickle that was released with the encoders"


class _Refused(Exception):
    """Raised with the reason why a pickle is refused."""


def load_plain_pickle(path: Path, hint: str = _HINT) -> object:
    """Read a pickle file of lists, tuples, dictionaries, strings, numbers, booleans and None.

    Byte strings of Python 2 become text (latin-1). UserError that ends with `hint` if the file
    has other contents, is damaged or too large.
    """
    path = Path(path)
    try:
        data = read_regular_file(path, MAX_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {hint}") from error
    try:
        return _Machine(data).run()
    except _Refused as reason:
        raise UserError(f"{path}: is refused, and no code in it was executed: {reason}; {hint}") from None


class _Machine:
    """Interpreter of one pickle, with stack, marks and memo; nested containers need no recursion."""

    def __init__(self, data: bytes):
        self.data, self.at, self.values = data, 0, 0
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.depths: dict[int, int] = {}  # id of a container -> its nesting depth
        self.containers: list = []  # references that keep the ids unique

    def run(self) -> object:
        while True:
            start = self.at
            code = self.take(1)[0]
            if code == _STOP:
                break
            step = _STEPS.get(code)
            if step is None:
                raise _Refused(f"{_opcode_name(code)} at byte {start} is not plain data")
            try:
                step(self)
            except _Refused as reason:
                raise _Refused(f"{reason} (byte {start})") from None
            except (IndexError, KeyError, TypeError, ValueError, OverflowError, AttributeError):
                raise _Refused(f"{_opcode_name(code)} at byte {start} is damaged") from None
        if len(self.stack) != 1 or self.marks:
            raise _Refused("the file ends too early or holds more than one object")
        return self.stack[0]

    # Bytes.

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes; _Refused if the file is shorter, before any memory is reserved."""
        end = self.at + count
        if end > len(self.data):
            raise _Refused(f"the file is truncated: {count:,} bytes are needed, {len(self.data) - self.at:,} are left")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def number(self, form: str) -> int | float:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise _Refused("the file is truncated")
        return self.take(end + 1 - self.at)[:-1]

    # Stack.

    def push(self, value: object) -> None:
        """Push a value that is no new container."""
        self.values += 1
        if self.values > _MAX_VALUES:
            raise _Refused(f"the file holds more than {_MAX_VALUES:,} values")
        self.stack.append(value)

    def new(self, container) -> None:
        """Push a new container and record its nesting depth."""
        if len(self.containers) >= _MAX_OBJECTS:
            raise _Refused(f"the file holds more than {_MAX_OBJECTS:,} containers")
        self.containers.append(container)
        self.depths[id(container)] = 1
        if container:
            values = container if isinstance(container, tuple) else _content(container)
            self.deepen(container, values)
        self.stack.append(container)

    def deepen(self, container, values) -> None:
        inner = max((self.depths[id(each)] for each in values if type(each) in _CONTAINERS), default=0)
        if inner >= _MAX_DEPTH:
            raise _Refused(f"its containers nest deeper than {_MAX_DEPTH}")
        self.depths[id(container)] = max(self.depths[id(container)], inner + 1)

    def since_mark(self) -> list:
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def pop(self, count: int) -> list:
        if len(self.stack) - (self.marks[-1] if self.marks else 0) < count:
            raise IndexError
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def mark(self) -> None:
        if len(self.marks) >= _MAX_DEPTH:
            raise _Refused(f"its containers nest deeper than {_MAX_DEPTH}")
        self.marks.append(len(self.stack))

    def remember(self, key: int) -> None:
        if len(self.memo) >= _MAX_OBJECTS:
            raise _Refused(f"the file memoises more than {_MAX_OBJECTS:,} objects")
        self.memo[key] = self.stack[-1]

    def append(self, values: list) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise TypeError
        self.deepen(target, values)
        target.extend(values)

    def set_items(self, values: list) -> None:
        target, keys = self.stack[-1], values[::2]
        if type(target) is not dict or len(values) % 2 or any(type(key) not in (str, int) for key in keys):
            raise TypeError
        self.deepen(target, values[1::2])
        target.update(zip(keys, values[1::2], strict=True))

    def integer(self, text: bytes) -> None:
        """Push a decimal number of protocol 0; 00 and 01 are the booleans."""
        if len(text) > 20:
            raise _Refused("a number of more than 20 digits")
        self.push({b"00": False, b"01": True}[text] if text in (b"00", b"01") else int(text.removesuffix(b"L")))

    def long(self) -> None:
        count = self.take(1)[0]
        if count > 8:
            raise _Refused("a number of more than 64 bits")
        self.push(int.from_bytes(self.take(count), "little", signed=True))

    def quoted(self) -> None:
        """Push a string of protocol 0, with the quotes and escapes of Python 2."""
        text = self.line()
        if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
            raise ValueError
        self.push(codecs.escape_decode(text[1:-1])[0].decode("latin-1"))


_CONTAINERS = (list, dict, tuple)


def _content(container) -> list:
    return list(container.values()) if isinstance(container, dict) else container


def _opcode_name(code: int) -> str:
    known = pickletools.code2op.get(chr(code))
    return f"the opcode {known.name}" if known else f"the byte 0x{code:02x}"


def _dictionary(machine: _Machine) -> None:
    values = machine.since_mark()
    machine.new({})
    machine.set_items(values)


_STOP = ord(".")
_STEPS: dict[int, Callable[[_Machine], None]] = {
    ord(code): step
    for code, step in {
        # frame and protocol: skipped
        "\x80": lambda m: m.take(1),
        "\x95": lambda m: m.take(8),
        # containers
        "(": _Machine.mark,
        "]": lambda m: m.new([]),
        "}": lambda m: m.new({}),
        ")": lambda m: m.new(()),
        "l": lambda m: m.new(m.since_mark()),
        "d": _dictionary,
        "t": lambda m: m.new(tuple(m.since_mark())),
        "\x85": lambda m: m.new(tuple(m.pop(1))),
        "\x86": lambda m: m.new(tuple(m.pop(2))),
        "\x87": lambda m: m.new(tuple(m.pop(3))),
        "a": lambda m: m.append(m.pop(1)),
        "e": lambda m: m.append(m.since_mark()),
        "s": lambda m: m.set_items(m.pop(2)),
        "u": lambda m: m.set_items(m.since_mark()),
        # memo
        "p": lambda m: m.remember(int(m.line())),
        "q": lambda m: m.remember(m.take(1)[0]),
        "r": lambda m: m.remember(m.number("<I")),
        "\x94": lambda m: m.remember(len(m.memo)),
        "g": lambda m: m.push(m.memo[int(m.line())]),
        "h": lambda m: m.push(m.memo[m.take(1)[0]]),
        "j": lambda m: m.push(m.memo[m.number("<I")]),
        # constants and numbers
        "N": lambda m: m.push(None),
        "\x88": lambda m: m.push(True),
        "\x89": lambda m: m.push(False),
        "I": lambda m: m.integer(m.line()),
        "L": lambda m: m.integer(m.line()),
        "J": lambda m: m.push(m.number("<i")),
        "K": lambda m: m.push(m.take(1)[0]),
        "M": lambda m: m.push(m.number("<H")),
        "\x8a": _Machine.long,
        "F": lambda m: m.push(float(m.line())),
        "G": lambda m: m.push(m.number(">d")),
        # strings, of Python 2 and 3
        "S": _Machine.quoted,
        "U": lambda m: m.push(m.take(m.take(1)[0]).decode("latin-1")),
        "T": lambda m: m.push(m.take(m.number("<I")).decode("latin-1")),
        "V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
        "\x8c": lambda m: m.push(m.take(m.take(1)[0]).decode("utf-8", "surrogatepass")),
        "X": lambda m: m.push(m.take(m.number("<I")).decode("utf-8", "surrogatepass")),
        "\x8d": lambda m: m.push(m.take(m.number("<Q")).decode("utf-8", "surrogatepass")),
    }.items()
}
