"""Zstandard files, which Python's standard library doesn't read before 3.14."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, cast

from recambio.errors import InputError

# Compressed bytes that are decompressed at once: what they become has to fit in memory.
_CHUNK = 1 << 14


class DamagedError(Exception):
    """The file isn't Zstandard, is cut off, or its content doesn't match its checksum."""


class ZstdReader(io.RawIOBase):
    """The decompressed bytes of a file: of all its frames, one after another.

    The library's own reader takes a file that is cut off for one that ends; this one doesn't.

    Args:
        file: The compressed bytes; closed with the reader.
        zstandard: The library.
    """

    def __init__(self, file: BinaryIO, zstandard: ModuleType) -> None:
        self._file = file
        self._error = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame: Any = None
        self._compressed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._compressed = self._compressed or self._file.read(_CHUNK)
            if not self._compressed:
                if self._frame is not None:
                    raise DamagedError("it ends in the middle of a frame")
                return 0
            self._ready = memoryview(self._decompressed())
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()

    def _decompressed(self) -> bytes:
        """What the compressed bytes at hand become, up to the end of their frame."""
        if self._frame is None:
            self._frame = self._decompressor.decompressobj()
        try:
            data: bytes = self._frame.decompress(self._compressed)
        except self._error as error:
            raise DamagedError(str(error)) from None
        self._compressed = b""
        if self._frame.eof:
            self._compressed, self._frame = self._frame.unused_data, None
        return data


def open_zstd(path: Path) -> BinaryIO:
    """Open a Zstandard file for reading.

    Raises:
        InputError: The package ``zstandard`` isn't installed.
        OSError: The file can't be opened.
    """
    try:
        import zstandard
    except ImportError:
        raise InputError(
            f"{path}: a .zst file needs the package 'zstandard'; pip install zstandard, or decompress it (zstd -d)"
        ) from None
    return cast(BinaryIO, io.BufferedReader(ZstdReader(path.open("rb"), zstandard)))
