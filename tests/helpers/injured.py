"""Small good files of every kind that is read, and injuries to them: what the tests with damaged files start from."""

from __future__ import annotations

import base64
import gzip
import io
import random
import zipfile
from collections.abc import Callable
from typing import Any

import cv2
import nibabel as nib
import numpy as np
from PIL import Image, features
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from tests.helpers.files import dicom, encode, metaimage, mgh, nrrd, saved, tarred, zipped

HEAD = cv2.resize(
    np.pad(np.hypot(*np.mgrid[-12:13, -10:11]) < 9, 3).astype(np.uint8) * 180 + 20,
    (31, 37),
    interpolation=cv2.INTER_LINEAR,
)
DEEP = HEAD.astype(np.uint16) * 13
# HEAD twice as large, as HEIC: pi-heif reads only, so the file was written once, by pillow-heif
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAXZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAA"
    "AAAERAAAEAAQAAAAABmgABAAAAAAAAApcAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA9mlwcnAA"
    "AADWaXBjbwAAAHFodmNDAQQIAAAAn/gAAAAAHvAA/Pz4+AAADwNgAAEAF0ABDAH//wQIAAADAJ/4AAADAAAeugJAYQABACZCAQEECAAAAwCf+A"
    "AAAwAAHsCCBR8+W6uSmubAgAAADIAAAAMAhGIAAQAGRAHBc8CJAAAAE2NvbHJuY2x4AAEADQAGgAAAABRpc3BlAAAAAAAAAEAAAABKAAAAKGNs"
    "YXAAAAA+AAAAAQAAAEoAAAAB/////gAAAAIAAAAAAAAAAgAAAA5waXhpAAAAAAEIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAACn21kYXQAAA"
    "KTKAGuDHDj8sFtv85xdDhwvXjpKz6Qy3H9wBiycXrVkKgSqhqi03K6hb1TnDv3royc6mMbdtjpE3ZOIzbaZTj6w9QOrBtuM4oAwhF/BeW5paiQ"
    "sTRRQAdJWKopVcj6amH77PReM8G+ARQClbK5imwAAZZoHfUIWVDHnfnpHtcYq7AGlTlfG7G26x3SDpXxFlb1RFivuZO+uyM4i7bjK5d9V8CeOC"
    "a95QP9dhptvksPtenTbygYcJxnwFB22WK123rdSaKt/yeGicSnCOMdQMDeSGMkj4frWc29jKoa5gKto5YvZ6Gb4YseC2Ks3vAyGpMuEd0ogvra"
    "3OIJ/59v3zBZtmvhld9SSSFgqjyVKXJ6HiqBlf2PwcdUAPZCGyYX9Y4p+s46v2TpvPLEcF+xcrV8378atEeA5bk+hh2oYrYvPWS/phyAmnT0Lr"
    "4advVHpYOZWslVFyGiR28+C5ZEnGtwMW0vlePPdE/6v2nk/VWP4kP2ombk9C6PjZy2qw///weAaaESTRpfVAJu+FfJbmGqLuHjnpchfy587K5w"
    "GLdhFPaC651Kz53UpGLIIsX0DMAjCZRbTqbDKVSEbRvVV5yaNj2VABNpeiFurmaLodZRGnNhF/ZHIkUE4oMzH00zDgqejuixpssvUEWuSq1RwA"
    "D7kNtOCeBckPMC8hMzVzrmSs/zdWEqRgd9pRHhbnVlwOSJYPMsi0IpPZiuW1h7ApwQyMO2voCv3illasOLCTaXL91K5NlbLitqn+MV7ZDZILBt"
    "Lvp7mP7nkgw+V3qBdNnZ9JKgn4S/8oNGraAJp8oUSnMLS/a7eq+/0xRnY3dco0z2avWt3wq4Bhf+OdVKG8jnNd47Dp57/9tC7D/P/9hLZFhXXu"
    "A="
)
STACK = np.stack([np.roll(HEAD, i, 1) for i in range(5)])


def pictures() -> list[bytes]:
    gray, deep = Image.fromarray(HEAD), Image.fromarray(DEEP)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.fromarray(s) for s in STACK]
    found = [encode(gray, kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")]
    found += [encode(gray.convert(mode), "PNG") for mode in ("1", "RGB", "RGBA", "LA", "P")]
    found += [
        encode(deep, "PNG"),
        encode(deep, "TIFF"),
        encode(gray.convert("CMYK"), "JPEG"),
        encode(gray.convert("F"), "TIFF"),
    ]
    found += [encode(gray, "JPEG", exif=exif.tobytes()), encode(gray, "JPEG", progressive=True)]
    found += [encode(gray, "TIFF", compression=c) for c in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")]
    found += [encode(frames[0], k, save_all=True, append_images=frames[1:]) for k in ("GIF", "TIFF", "PNG", "WEBP")]
    found += [encode(gray, "JPEG2000", num_resolutions=3), encode(deep, "JPEG2000", num_resolutions=3)]
    found += [encode(gray, "AVIF")] if features.check("avif") else []
    for values in (np.dstack([DEEP] * 3), np.dstack([DEEP] * 4)):
        found.append(cv2.imencode(".png", values)[1].tobytes())
    found += [cv2.imencode(".tiff", HEAD.astype(t))[1].tobytes() for t in (np.float32, np.float64, np.int32)]
    return found


def dicoms() -> list[bytes]:
    tags: dict[str, Any] = {
        "ImageOrientationPatient": [1, 0, 0, 0, -1, 0],
        "ImagePositionPatient": [0, 0, 5],
        "PixelSpacing": [0.5, 0.6],
    }
    found = [
        saved(dicom(DEEP, **tags)),
        saved(dicom(HEAD, PhotometricInterpretation="MONOCHROME1")),
        saved(dicom(STACK)),
    ]
    found += [
        saved(dicom(DEEP, s)) for s in (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
    ]
    found.append(saved(dicom(DEEP, ImplicitVRLittleEndian, **tags), bare=True))
    found.append(saved(dicom(DEEP.astype(np.int16), RescaleSlope=2, RescaleIntercept=-7, PixelPaddingValue=5)))
    dataset = dicom(DEEP, **tags)
    dataset.compress(RLELossless)
    found.append(saved(dataset))
    gray = Image.fromarray(HEAD)
    j2k = encode(gray, "JPEG2000", no_jp2=True, num_resolutions=3)
    for syntax, stream in ((JPEG2000Lossless, j2k), (JPEGBaseline8Bit, encode(gray, "JPEG"))):
        dataset = dicom(HEAD, syntax)
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].VR = "OB"
        found.append(saved(dataset))
    return found


def niftis() -> list[bytes]:
    affine = np.diag([-1.0, -1.0, 4.0, 1.0])
    found = [nib.Nifti1Image(STACK.transpose(2, 1, 0).astype(t), affine).to_bytes() for t in ("u1", "i2", "f4", ">f8")]
    found += [nib.Nifti1Image(a, np.eye(4)).to_bytes() for a in (HEAD, np.stack([STACK, STACK], 3))]
    found.append(nib.Nifti2Image(STACK, affine).to_bytes())
    found += [metaimage(STACK), metaimage(STACK, packed=True), nrrd(STACK), nrrd(STACK, encoding="gzip"), mgh(STACK)]
    return [*found, gzip.compress(found[0]), gzip.compress(found[1])]


def archives() -> list[bytes]:
    found = []
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", kind) as archive:
            for i, values in enumerate(STACK[:3]):
                position: dict[str, Any] = {
                    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
                    "ImagePositionPatient": [0, 0, i],
                }
                archive.writestr(f"s/{i}.dcm", saved(dicom(values, **position)))
            archive.writestr("s/notes.txt", "x" * 50)
        found.append(stream.getvalue())
    files = {"a/t1.nii": niftis()[0], "b/inner.zip": found[0], "flair.nii.gz": niftis()[-1]}
    return [*found, tarred(files), gzip.compress(tarred(files)), zipped(files)]


EXTREMES = [
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\xff\xff",
    b"\0\0\xc0\x7f",
    b"\x30" * 8,
]


def mutate(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """One to four random injuries; half of them hit the first 500 bytes, where the headers are."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not result:
            break
        at = rng.randrange(min(len(result), 500) if rng.random() < 0.5 else len(result))
        kind = rng.randrange(9)
        if kind == 0:
            del result[at:]
        elif kind == 1:
            result[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            result[at] = rng.randrange(256)
        elif kind == 3:
            value = rng.choice(EXTREMES)
            result[at : at + len(value)] = value
        elif kind == 4:
            del result[at : at + rng.randrange(1, 60)]
        elif kind == 5:
            result[at:at] = rng.randbytes(rng.randrange(1, 60))
        elif kind == 6:
            result[at:at] = result[at : at + rng.randrange(1, 200)]
        elif kind == 7:
            other = rng.choice(others)
            result[at:] = other[rng.randrange(len(other)) :]
        else:
            value = rng.randrange(2**32).to_bytes(4, rng.choice(("little", "big")))
            result[at : at + 4] = value
    return bytes(result)


FAMILIES: dict[str, Callable[[], list[bytes]]] = {
    "pictures": pictures,
    "dicom": dicoms,
    "nifti": niftis,
    "archives": archives,
}
