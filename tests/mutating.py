"""Ways to damage a folder of files."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path


def damage(folder: Path, other: Path, rng: random.Random, i: int) -> str:
    """Damage a checkpoint in the i-th of the ways, in turn; return which.

    `other` is another checkpoint, whose files may be swapped with its own.
    """
    files = sorted(path for path in folder.iterdir())
    ways = (flip, truncate, extend, zero, swap_within, swap_with_other, remove, make_folder)
    return ways[i % len(ways)](files, other, rng)


def _rewritten(path: Path, content: bytes) -> None:
    assert content != path.read_bytes()
    path.write_bytes(content)


def flip(files: list[Path], other: Path, rng: random.Random) -> str:
    """Flip one bit of one file, in every region of it alike."""
    path = rng.choice(files)
    content = bytearray(path.read_bytes())
    place, bit = rng.randrange(len(content)), rng.randrange(8)
    content[place] ^= 1 << bit
    _rewritten(path, bytes(content))
    return f"bit {bit} of byte {place} of {path.name} flipped"


def truncate(files: list[Path], other: Path, rng: random.Random) -> str:
    path = rng.choice(files)
    content = path.read_bytes()
    length = rng.randrange(len(content))
    _rewritten(path, content[:length])
    return f"{path.name} cut to {length} bytes"


def extend(files: list[Path], other: Path, rng: random.Random) -> str:
    path = rng.choice(files)
    more = rng.choice([b"\0", b" ", b"\n", b"{}", rng.randbytes(rng.randint(1, 100))])
    _rewritten(path, path.read_bytes() + more)
    return f"{path.name} with {more!r} at its end"


def zero(files: list[Path], other: Path, rng: random.Random) -> str:
    """Put zeros in place of some bytes, as file systems do after a power cut."""
    path = rng.choice(files)
    content = bytearray(path.read_bytes())
    start = rng.randrange(len(content))
    end = rng.randint(start + 1, len(content))
    if not any(content[start:end]):  # they are zeros already
        start, end = 0, len(content)
    content[start:end] = bytes(end - start)
    _rewritten(path, bytes(content))
    return f"{path.name} with zeros from {start} to {end}"


def swap_within(files: list[Path], other: Path, rng: random.Random) -> str:
    one, two = rng.sample(files, 2)
    contents = one.read_bytes(), two.read_bytes()
    one.write_bytes(contents[1])
    two.write_bytes(contents[0])
    return f"{one.name} and {two.name} swapped"


def swap_with_other(files: list[Path], other: Path, rng: random.Random) -> str:
    """Take a file of another checkpoint, or all of them."""
    names = [path.name for path in files]
    chosen = rng.choice([[name] for name in names] + [names, names[:2]])
    changed = False
    for path in files:
        if path.name in chosen:
            content = (other / path.name).read_bytes()
            changed |= content != path.read_bytes()
            path.write_bytes(content)
    if not changed:  # both have the same
        return flip(files, other, rng)
    return f"{', '.join(chosen)} of {other.name} in {files[0].parent.name}"


def remove(files: list[Path], other: Path, rng: random.Random) -> str:
    path = rng.choice(files)
    path.unlink()
    return f"{path.name} removed"


def make_folder(files: list[Path], other: Path, rng: random.Random) -> str:
    """Put a folder, or a link that leads nowhere or round, in place of a file."""
    path = rng.choice(files)
    path.unlink()
    kind = rng.randrange(3)
    if kind == 0:
        path.mkdir()
    else:
        os.symlink("nowhere" if kind == 1 else path.name, path)
    return f"{path.name} is {('a folder', 'a link to nowhere', 'a link to itself')[kind]}"


def restore(folder: Path, sound: Path) -> None:
    """Put a sound copy in place of a damaged folder."""
    shutil.rmtree(folder)
    shutil.copytree(sound, folder)
