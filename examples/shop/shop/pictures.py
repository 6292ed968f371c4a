"""Pictures with the standard library alone: enough PNG for thumbnails."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image of 8-bit RGB pixels."""

    width: int
    height: int
    pixels: bytes  # rows from top to bottom, three bytes a pixel


def original(image_id: int, size: int = 192) -> Picture:
    """Paint the picture of an article; stands for fetching the upload from the shop's object store."""
    pixels = bytearray()
    for y in range(size):
        for x in range(size):
            pixels += bytes(((x * 255 // size + image_id) & 255, (y * 255 // size) & 255, (x * y + image_id) & 255))
    return Picture(width=size, height=size, pixels=bytes(pixels))


def shrink(picture: Picture, width: int) -> Picture:
    """Scale down to a width, each pixel the average of those it covers; never scales up."""
    factor = max(1, picture.width // width)
    new_width, new_height = picture.width // factor, picture.height // factor
    stride = picture.width * 3
    pixels = bytearray()
    for y in range(new_height):
        rows = [picture.pixels[(y * factor + dy) * stride : (y * factor + dy + 1) * stride] for dy in range(factor)]
        for x in range(new_width):
            start, end = x * factor * 3, (x + 1) * factor * 3
            for channel in range(3):
                pixels.append(sum(sum(row[start + channel : end : 3]) for row in rows) // (factor * factor))
    return Picture(width=new_width, height=new_height, pixels=bytes(pixels))


def png(picture: Picture) -> bytes:
    """Encode as PNG: 8 bits a channel, RGB, no filter."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    stride = picture.width * 3
    rows = b"".join(b"\0" + picture.pixels[y * stride : (y + 1) * stride] for y in range(picture.height))
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, level=9))
        + chunk(b"IEND", b"")
    )
