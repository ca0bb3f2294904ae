"""What is done to the content of one file, by its kind: bytes, text, JSON, images.

A change takes the content and a source of random numbers and returns the new content. It may raise anything where the content
is not of its kind (any more): then another change is drawn.
"""

import json
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import cv2
import numpy as np

Change = Callable[[bytes, Random], bytes]

INTEGERS = (0, 1, 2, 3, 127, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
NUMBERS = ("nan", "inf", "-inf", "0", "-0.0", "-1", "1", "1e30", "-1e30", "1e308", "1e-320", "1e999999", "7" * 5000)
WORDS = (
    *NUMBERS,
    *(str(number) for number in INTEGERS),
    "",
    "word",
    "1.5.2",
    "0x10",
    "../up",
    "/",
    "\0",
    "ä",
    "[" * 3000,
    "{",
    "~",
    "- a",
    "!!python/object:os.system",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    10**9,
    2**63,
    10**400,
    float("nan"),
    float("inf"),
    1e308,
    "",
    "word",
    "\0",
    [],
    [[]],
    {},
    [1, "a"],
)
IMAGE_SIDES = (0, 1, 2, 3, 7, 13_000, 20_000, 65_536, 2**31 - 1, 2**32 - 1)


def flip_bits(content: bytes, random: Random) -> bytes:
    """Some bits are flipped, often near the beginning, where headers are."""
    changed = bytearray(content)
    reach = random.choice((len(changed), min(len(changed), 200)))
    for _ in range(random.choice((1, 1, 2, 8, 50))):
        changed[random.randrange(reach)] ^= 1 << random.randrange(8)
    return bytes(changed)


def absurd_integer(content: bytes, random: Random) -> bytes:
    """A few bytes become the least or greatest value that they can hold, or a small one."""
    size, order = random.choice((1, 2, 4, 8)), random.choice(("little", "big"))
    place = random.randrange(random.choice((len(content), min(len(content), 200))))
    value = random.choice(INTEGERS) % 2 ** (8 * size)
    return content[:place] + value.to_bytes(size, order) + content[place + size :]


def cut(content: bytes, random: Random) -> bytes:
    """The end is missing."""
    return content[: random.choice((0, 1, len(content) - 1, len(content) // 2, random.randrange(len(content))))]


def remove_part(content: bytes, random: Random) -> bytes:
    """Some bytes in the middle are missing."""
    first = random.randrange(len(content))
    return content[:first] + content[first + random.choice((1, 4, 100)) :]


def repeat_part(content: bytes, random: Random) -> bytes:
    """Some bytes come twice."""
    first = random.randrange(len(content))
    last = first + random.choice((1, 8, 500))
    return content[:last] + content[first:]


def noise(content: bytes, random: Random) -> bytes:
    """A run of bytes, or all, is replaced by noise or zeros."""
    first, length = random.choice(((0, len(content)), (random.randrange(len(content)), random.choice((4, 40, 400)))))
    length = min(length, len(content) - first)
    put = random.choice((random.randbytes(length), bytes(length), b"\xff" * length))
    return content[:first] + put + content[first + length :]


def longer(content: bytes, random: Random) -> bytes:
    """Something follows the end."""
    return content + random.choice((b"\0", b"\n", random.randbytes(100), content))


def word(content: bytes, random: Random) -> bytes:
    """A word or number of a text becomes another, or is missing."""
    text = content.decode()
    separator = random.choice([one for one in (" ", ",", ": ", "\n") if one in text])
    parts = text.split(separator)
    parts[random.randrange(len(parts))] = random.choice(WORDS)
    return separator.join(parts).encode()


def line(content: bytes, random: Random) -> bytes:
    """A line is missing, comes twice, changes its place or is no line of such a file."""
    lines = content.decode().split("\n")
    first, second = random.randrange(len(lines)), random.randrange(len(lines))
    what = random.choice(("missing", "twice", "moved", "other"))
    taken = lines.pop(first)
    if what == "twice":
        lines[first:first] = [taken, taken]
    elif what == "moved":
        lines.insert(second, taken)
    elif what == "other":
        lines.insert(first, random.choice(WORDS))
    return "\n".join(lines).encode()


def encoding(content: bytes, random: Random) -> bytes:
    """The text is of another encoding, or has other ends of lines."""
    text = content.decode()
    return random.choice(
        (
            text.encode("utf-16"),
            text.encode("utf-8-sig"),
            content + b"\xff\xfe",
            b"\x80" + content,
            content.replace(b"\n", b"\r\n"),
            content.replace(b"\n", b"\r"),
            content.replace(b"\n", b""),
        )
    )


def json_node(content: bytes, random: Random) -> bytes:
    """A value of JSON becomes another, loses its name or is missing; of a file of lines, in one of them."""
    lines = content.decode().splitlines() if content.count(b"\n{") else [content.decode()]
    chosen = random.randrange(len(lines))
    lines[chosen] = json.dumps(changed_node(json.loads(lines[chosen]), random))
    return ("\n".join(lines) + "\n").encode()


def deep_json(content: bytes, random: Random) -> bytes:
    """Values within values, far too deep."""
    depth, opening = random.choice((500, 5000, 100_000)), random.choice(("[", '{"a":'))
    return random.choice((opening * depth, '{"loops":' + "[" * depth + "]" * depth + "}")).encode()


def changed_node(tree: Any, random: Random) -> Any:
    """The tree with one of its values changed."""
    places = list(nodes(tree, ()))
    place = random.choice(places)
    if not place:
        return random.choice(VALUES)
    *way, last = place
    parent = tree
    for step in way:
        parent = parent[step]
    what = random.choice(("other", "other", "missing", "renamed" if isinstance(parent, dict) else "twice"))
    if what == "other":
        parent[last] = random.choice(VALUES)
    elif what == "twice":
        parent.insert(last, parent[last])
    else:
        value = parent.pop(last)
        if what == "renamed":
            parent[random.choice(("", "word", last * 2))] = value
    return tree


def nodes(tree: Any, place: tuple[Any, ...]) -> Any:
    """The places of all values of a tree, its root first."""
    yield place
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items)[:50]:
        yield from nodes(value, (*place, key))


def png_header(content: bytes, random: Random) -> bytes:
    """The header of a PNG says another size or kind, with the right checksum."""
    width, height, *rest = struct.unpack(">IIBBBBB", content[16:29])
    sides = [width, height]
    what = random.randrange(7)
    if what < 2:
        sides[what] = random.choice(IMAGE_SIDES)
    else:
        rest[what - 2] = random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    header = b"IHDR" + struct.pack(">IIBBBBB", *sides, *rest)
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def other_image(content: bytes, random: Random) -> bytes:
    """A whole image of another size, another number of channels or another type."""
    size = (random.choice((1, 3, 24, 25, 100)), random.choice((1, 3, 32, 33, 100)))
    channels = random.choice(((), (3,), (4,)))
    kind = random.choice((np.uint8, np.uint16))
    suffix = random.choice((".png", ".png", ".jpg", ".bmp"))
    return cv2.imencode(suffix, np.full((*size, *channels), random.randrange(256), kind))[1].tobytes()


def odd_floats(content: bytes, random: Random) -> bytes:
    """Of float32 numbers some are not finite, huge or tiny."""
    numbers = np.frombuffer(content[: len(content) // 4 * 4], "<f4").copy()
    for _ in range(random.choice((1, 3, len(numbers)))):
        numbers[random.randrange(len(numbers))] = random.choice((np.nan, np.inf, -np.inf, 1e38, 1e-40, -0.0))
    return numbers.tobytes()


BINARY: tuple[Change, ...] = (flip_bits, absurd_integer, cut, remove_part, repeat_part, noise, longer)
TEXT: tuple[Change, ...] = (word, word, word, line, encoding)
JSON: tuple[Change, ...] = (json_node, json_node, json_node, deep_json)
IMAGE: tuple[Change, ...] = (png_header, other_image)
