"""Reads SQLite's write-ahead log as it lies on the disk: how far it counts, and whether it was torn or damaged.

SQLite itself stops silently at the first frame whose checksum is wrong. That is right for a tail that a dying
machine left half written, and loses answers where a byte in the middle has gone bad; this tells the two apart.
Format: https://www.sqlite.org/fileformat2.html, section 4.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

_HEADER, _FRAME_HEADER = 32, 24
_MAGIC = 0x377F0682
_MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class LogState:
    """What is in a write-ahead log.

    `torn_bytes` were being written when the process or the machine died, and were never a commit.
    `lost_from` is the byte offset of a damage with commits behind it, which are lost; None without one.
    """

    torn_bytes: int = 0
    lost_from: int | None = None


def examine_log(path: Path) -> LogState:
    """Examine the log beside a database (`<database>-wal`); one that is not there or empty is sound."""
    content = path.read_bytes() if path.is_file() else b""
    if len(content) < _HEADER:
        return LogState(torn_bytes=len(content))
    magic, _, page_size, _ = struct.unpack(">4I", content[:16])
    salts, stored = content[16:24], struct.unpack(">2I", content[24:32])
    if magic & ~1 != _MAGIC:
        return LogState(lost_from=0)
    order = ">" if magic & 1 else "<"
    sums = _summed((0, 0), content[:24], order)
    size = _FRAME_HEADER + page_size
    frames = range(_HEADER, len(content) - size + 1, size)
    if sums != stored:
        return _broken(content, frames, salts, 0)
    for start in frames:
        header = content[start : start + _FRAME_HEADER]
        if header[8:16] != salts:
            # Left over from before the log was last begun anew.
            return _broken(content, frames[frames.index(start) :], salts, start)
        sums = _summed(sums, header[:8] + content[start + _FRAME_HEADER : start + size], order)
        if sums != struct.unpack(">2I", header[16:]):
            return _broken(content, frames[frames.index(start) :], salts, start)
    return LogState(torn_bytes=(len(content) - _HEADER) % size)


def _broken(content: bytes, frames: range, salts: bytes, start: int) -> LogState:
    """Whether behind the frame that does not count there are commits of the same log."""
    own = [at for at in frames if content[at + 8 : at + 16] == salts]
    if any(at > start and content[at + 4 : at + 8] != b"\0\0\0\0" for at in own):
        return LogState(lost_from=start)
    return LogState(torn_bytes=len(own) * frames.step)


def _summed(sums: tuple[int, int], content: bytes, order: str) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & _MASK
        second = (second + odd + first) & _MASK
    return first, second
