"""Which decoder reads a compressed DICOM picture, and those for the JPEG that Pillow does not read, as a plug-in of
pydicom: lossless (process 14), 12 bit, JPEG-LS.

The libraries for the first two are under the GPL (libjpeg of pylibjpeg) or end the whole process on a damaged stream
(GDCM), which a server cannot afford. NumPy does the work on all pixels at once; Python only walks from code to code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.pixels.decoders.base import DecodeRunner

PLUGIN = "brain_mri"
SYNTAXES = (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless)
# One decoder each: not whatever else is installed, some of which end the process on a damaged stream
DECODERS = {
    **dict.fromkeys((JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL), "pylibjpeg"),
    **dict.fromkeys(SYNTAXES, PLUGIN),
    JPEGBaseline8Bit: "pillow",
    RLELossless: "pydicom",
}
MOST = 2**24  # pixels of a frame: three seconds for 4096 x 1024, and no MRI has more
RESTARTS = 8192  # of a frame; each costs time, however little lies between two
CHUNK = 2**16  # bytes looked at together: so much memory is needed, however large the picture
_ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8))
_N = np.arange(8)
_COSINES = np.cos((2 * _N[:, None] + 1) * _N[None] * np.pi / 16) / 2 * np.where(_N == 0, np.sqrt(0.5), 1.0)


def decoder_of(dataset: Dataset) -> str:
    """Name of the plug-in of pydicom that decodes its frames; "" for those that need none."""
    syntax = dataset.file_meta.TransferSyntaxUID
    plain = syntax == JPEGExtended12Bit and dataset.get("BitsStored") == 8
    return "pillow" if plain else DECODERS.get(syntax, "")


def is_available(uid: str) -> bool:
    """Asked by pydicom."""
    return uid in SYNTAXES


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """Asked by pydicom: a stream -> its pixels, little endian. Raises ValueError for a damaged one."""
    if runner.transfer_syntax in (JPEGLSLossless, JPEGLSNearLossless):
        pixels, bits, runs = _jpeg_ls(bytes(src))
    else:
        picture = decode_jpeg(bytes(src))
        pixels, bits, runs = picture.tobytes(), 8 * picture.itemsize, 0
    runner.set_option("bits_allocated", bits)
    runner.set_option("planar_configuration", runs)
    return pixels


def _jpeg_ls(data: bytes) -> tuple[bytes, int, int]:
    """(pixels, bits of each, 1 when a component follows the other). Raises ValueError for a damaged stream."""
    import jpeg_ls  # a compiled library: only when needed

    data = data.rstrip(b"\0")
    data += b"" if data.endswith(b"\xff\xd9") else b"\xff\xd9"  # or CharLS looks for it for ten seconds
    try:
        pixels, info = jpeg_ls.decode_pixel_data(data)
    except RuntimeError as error:
        raise ValueError("a damaged JPEG-LS stream") from error
    bits = 8 if info["bits_per_sample"] <= 8 else 16
    return bytes(pixels), bits, int(info["components"] > 1 and info["interleave_mode"] == 0)


@dataclass
class _Header:
    """What stands before the codes. tables: (class, number) -> (lengths, symbols) of every 16 bits to come."""

    lossless: bool = False
    precision: int = 0
    height: int = 0
    width: int = 0
    quantizers: list[int] = field(default_factory=list)  # number of the table, of each component
    restart: int = 0
    tables: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    steps: dict[int, np.ndarray] = field(default_factory=dict)  # (64,) in zigzag order
    used: list[tuple[int, int]] = field(default_factory=list)  # tables (DC, AC) of each component
    predictor: int = 0
    shift: int = 0


def decode_jpeg(data: bytes) -> np.ndarray:
    """(height, width) or (height, width, components) uint8 or uint16 of a lossless JPEG; of one with cosines gray only.

    Raises ValueError for a damaged stream or another kind of JPEG.
    """
    try:
        header, codes = _parse(data)
        return _lossless(header, codes) if header.lossless else _cosines(header, codes)
    except (IndexError, KeyError) as error:
        raise ValueError("a damaged JPEG stream") from error


def _parse(data: bytes) -> tuple[_Header, list[bytes]]:
    """(header, the codes from each restart to the next without their stuffing)."""
    header, at = _Header(), 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("no marker where one should be")
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        body = data[at + 4 : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")]
        at += 4 + len(body)
        if marker in (0xC1, 0xC3):
            header.lossless, header.precision = marker == 0xC3, body[0]
            header.height, header.width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            header.quantizers = [body[8 + 3 * i] for i in range(body[5])]
            if any(body[7 + 3 * i] != 0x11 for i in range(body[5])):
                raise ValueError("components of different sizes")
        elif marker == 0xC4:
            _huffman(header, body)
        elif marker == 0xDB:
            while body:
                wide = body[0] >> 4
                kind = np.dtype(">u2" if wide else "u1")
                header.steps[body[0] & 15] = np.frombuffer(body, kind, 64, 1).astype(np.float64)
                body = body[1 + 64 * kind.itemsize :]
        elif marker == 0xDD:
            header.restart = int.from_bytes(body[:2], "big")
        elif marker == 0xDA:
            header.used = [(body[2 + 2 * i] >> 4, body[2 + 2 * i] & 15) for i in range(body[0])]
            header.predictor, header.shift = body[1 + 2 * body[0]], body[3 + 2 * body[0]] & 15
            break
        elif marker in (0xC0, 0xC2, *range(0xC5, 0xC8), *range(0xC9, 0xD0), 0xD9):
            raise ValueError("another kind of JPEG")
    count = len(header.quantizers)
    if not 2 <= header.precision <= 16 or not header.width or not header.height or len(header.used) != count:
        raise ValueError("a picture that cannot be read here")
    end = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]").search(data, at)
    parts = re.split(rb"\xff+[\xd0-\xd7]", data[at : end.start() if end else len(data)], maxsplit=RESTARTS)
    if len(parts) > RESTARTS or header.width * header.height * count > MOST:
        raise ValueError("a picture that takes too long")
    return header, [part.replace(b"\xff\x00", b"\xff") for part in parts]


def _huffman(header: _Header, body: bytes) -> None:
    while body:
        counts, total = body[1:17], sum(body[1:17])
        lengths, symbols = np.zeros(2**16, np.uint8), np.zeros(2**16, np.uint8)
        code, length, given = 0, 1, iter(body[17 : 17 + total])
        for length, count in enumerate(counts, 1):
            for symbol in [next(given, -1) for _ in range(count)]:
                begin, end = code << (16 - length), (code + 1) << (16 - length)
                if symbol < 0 or end > 2**16:
                    raise ValueError("a damaged table of codes")
                lengths[begin:end], symbols[begin:end] = length, symbol
                code += 1
            code <<= 1
        header.tables[body[0] >> 4, body[0] & 15] = lengths, symbols
        body = body[17 + total :]


class _Codes:
    """The codes of one part, looked up at every bit at once, a chunk at a time.

    next[p]: where the code after the one at bit p begins, 0 where there is none at all; symbols[p]: what it says;
    values(p): the signed numbers behind the codes.
    """

    def __init__(self, data: bytes, table: tuple[np.ndarray, np.ndarray], mask: int):
        self._data = np.frombuffer(data + bytes(8), np.uint8)
        self._table, self._mask, self.bits = table, mask, 8 * len(data)

    def look(self, start: int) -> None:
        """Look up the codes from the byte of bit `start` on; `begin` and `end` are the bits that are known then."""
        first = start // 8
        part = self._data[first : first + CHUNK + 4].astype(np.uint64)
        whole = np.zeros(len(part) - 4, np.uint64)
        for i in range(5):
            whole = (whole << np.uint64(8)) | part[i : i + len(whole)]
        self.begin, self.end = 8 * first, min(8 * (first + len(whole)), self.bits)
        windows = np.repeat(whole, 8)
        shifts = np.tile(np.arange(24, 16, -1).astype(np.uint64), len(whole))
        index = ((windows >> shifts) & np.uint64(0xFFFF)).astype(np.intp)
        lengths, symbols = self._table[0][index].astype(np.int64), self._table[1][index].astype(np.int64)
        sizes = symbols & self._mask
        if self._mask == 0xFF:  # of the lossless kind 16 stands for 32768 without any bit behind it
            lengths[sizes > 16] = 0
            sizes[sizes > 15] = 0
        after = np.arange(self.begin, self.begin + len(sizes)) + lengths + sizes
        self.next = np.where((lengths == 0) | (after > self.bits), 0, after).tolist()
        self.symbols = symbols
        behind = shifts.astype(np.int64) + 16 - lengths - sizes
        raw = (windows >> behind.astype(np.uint64)).astype(np.int64) & ((1 << sizes) - 1)
        self._numbers = np.where((sizes > 0) & (raw < 1 << np.maximum(sizes - 1, 0)), raw - (1 << sizes) + 1, raw)

    def values(self, places: list[int]) -> np.ndarray:
        at = np.array(places, np.intp) - self.begin
        numbers = self._numbers[at]
        return np.where(self.symbols[at] == 16, 32768, numbers) if self._mask == 0xFF else numbers


def _lossless(header: _Header, parts: list[bytes]) -> np.ndarray:
    height, width, count = header.height, header.width, len(header.used)
    if header.restart % width:
        raise ValueError("a restart within a row")
    rows = header.restart // width or height
    if len(parts) < -(-height // rows):
        raise ValueError("the stream ends too early")
    bands = []
    for top, part in zip(range(0, height, rows), parts, strict=False):
        shape = (min(rows, height - top), width, count)
        bands.append(_predicted(_differences(header, part, int(np.prod(shape))).reshape(shape), header))
    picture = (np.concatenate(bands) << header.shift).astype(np.uint8 if header.precision <= 8 else "<u2")
    return picture[..., 0] if count == 1 else picture


def _differences(header: _Header, part: bytes, total: int) -> np.ndarray:
    """(total,) int64, the components of a pixel one after the other."""
    own = {dc: _Codes(part, header.tables[0, dc], 0xFF) for dc, _ in header.used}
    if len(own) > 1:
        raise ValueError("components with codes of their own")
    codes = next(iter(own.values()))
    found: list[np.ndarray] = []
    at, left = 0, total
    while left:
        codes.look(at)
        following, begin, end = codes.next, codes.begin, codes.end
        places: list[int] = []
        add = places.append
        while at < end and len(places) < left:
            add(at)
            at = following[at - begin]
            if not at:
                raise ValueError("a code that stands for nothing")
        if not places:
            raise ValueError("the stream ends too early")
        found.append(codes.values(places))
        left -= len(places)
    return np.concatenate(found)


def _predicted(differences: np.ndarray, header: _Header) -> np.ndarray:
    """Differences (rows, columns, components) -> values: along the first row and column, then a diagonal at a time,
    on which no pixel needs another one."""
    rows, columns, count = differences.shape
    differences[0, 0] += 1 << (header.precision - header.shift - 1)
    differences[0] = differences[0].cumsum(axis=0) & 0xFFFF
    differences[:, 0] = differences[:, 0].cumsum(axis=0) & 0xFFFF
    flat = differences.reshape(-1, count)
    for diagonal in range(2, rows + columns - 1):
        top, bottom = max(1, diagonal - columns + 1), min(rows - 1, diagonal - 1)
        if top > bottom:
            continue
        start = top * columns + diagonal - top
        n, step = bottom - top + 1, max(1, columns - 1)
        here = slice(start, start + (n - 1) * step + 1, step)
        a, b, c = (flat[start - back : start - back + (n - 1) * step + 1 : step] for back in (1, columns, columns + 1))
        match header.predictor:
            case 1:
                guess = a
            case 2:
                guess = b
            case 3:
                guess = c
            case 4:
                guess = a + b - c
            case 5:
                guess = a + ((b - c) >> 1)
            case 6:
                guess = b + ((a - c) >> 1)
            case 7:
                guess = (a + b) >> 1
            case _:
                raise ValueError("a predictor that does not exist")
        flat[here] = (flat[here] + guess) & 0xFFFF
    return differences


def _cosines(header: _Header, parts: list[bytes]) -> np.ndarray:
    if len(header.used) != 1:
        raise ValueError("a picture in colours")
    down, across = -(-header.height // 8), -(-header.width // 8)
    each = header.restart or down * across
    coefficients = np.zeros((down * across, 64))
    if len(parts) < -(-len(coefficients) // each):
        raise ValueError("the stream ends too early")
    for first, part in zip(range(0, len(coefficients), each), parts, strict=False):
        own = coefficients[first : first + each]
        _fill(own, part, header)
        own[:, 0] = own[:, 0].cumsum()
    coefficients *= header.steps[header.quantizers[0]]
    blocks = np.zeros_like(coefficients)
    blocks[:, _ZIGZAG] = coefficients
    pixels = _COSINES @ blocks.reshape(-1, 8, 8) @ _COSINES.T
    picture = pixels.reshape(down, across, 8, 8).swapaxes(1, 2).reshape(8 * down, 8 * across)
    picture = picture[: header.height, : header.width] + (1 << (header.precision - 1))
    kind = np.dtype(np.uint8 if header.precision <= 8 else "<u2")
    return np.clip(np.rint(picture), 0, (1 << header.precision) - 1).astype(kind)


def _fill(blocks: np.ndarray, part: bytes, header: _Header) -> None:
    """Coefficients (blocks, 64), zigzag, from their codes; of the first one of each block only what it adds."""
    first, others = (_Codes(part, header.tables[kind, header.used[0][kind]], 0x0F) for kind in (0, 1))
    flat, at, block, k = blocks.reshape(-1), 0, 0, 0
    while block < len(blocks):
        if at >= first.bits:
            raise ValueError("the stream ends too early")
        first.look(at)
        others.look(at)
        begin, end, symbols = first.begin, first.end, others.symbols.tolist()
        found: dict[int, tuple[list[int], list[int]]] = {0: ([], []), 1: ([], [])}  # places, and what they fill
        while at < end and block < len(blocks):
            here, codes = at, others if k else first
            at = codes.next[here - begin]
            if not at:
                raise ValueError("a code that stands for nothing")
            run, size = (symbols[here - begin] >> 4, symbols[here - begin] & 15) if k else (0, 1)
            k += run
            if size:
                if k > 63:
                    raise ValueError("a block of more than 64 numbers")
                places, filled = found[min(k - run, 1)]
                places.append(here)
                filled.append(64 * block + k)
            k = 64 if not size and run < 15 else k + 1
            if k > 63:
                block, k = block + 1, 0
        for codes, (places, filled) in zip((first, others), found.values(), strict=True):
            flat[filled] = codes.values(places)


for _syntax in SYNTAXES:
    get_decoder(_syntax).add_plugin(PLUGIN, (__name__, "decode_frame"))
