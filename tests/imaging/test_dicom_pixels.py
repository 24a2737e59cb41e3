"""Every transfer syntax of DICOM is read, with free software only; damaged streams are refused in one sentence."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from brain_mri.imaging.dicom_pixels import DECODERS, PLUGIN, RESTARTS, decode_jpeg
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError
from tests.helpers.files import dicom, encode, saved, sentence

_Y, _X = np.mgrid[:16, :24]
DEEP = ((_X * 53 + _Y * 31 + (_X * _Y) % 7) % 4096).astype(np.uint16)
SMOOTH = (100 * _X + 60 * _Y + 300).astype(np.uint16)
# DEEP and SMOOTH as libjpeg-turbo 3 (12 bit; lossless with each predictor) and OpenJPH write them: nothing that may be
# a dependency here encodes these kinds.
LOSSLESS = {
    1: (
        "|JeWF01!$>Nk#wx0RR9200961|HA+a3;+-S7y$th0RO}Q761VO0RR910000000000000IB4FB2y2mt{A0RRBc{?)5ity;Be)"
        "vH#mTD5A`t5&UAwZ7T2X3d)~Y}vDB&6l=p*|TQL+cv)4yLJuRux{PE2JP54Zry`+>>Ibf;lmdUTrqIri-s;3xNyb87YtlDzU"
        "7maPFXT?$;&4!nK@+Tla@@JvcBn?H%!^Hbj_QlY}vYI&C@n)-7~)JqehJyG<MOWMvWRfXwjoajUBYU)vH#mTD5A`t5&UAwQA"
        "L?R;^mKzS*;8&6_W5*|TQNm$q!#vu4ZNHoo1vb`9IGZr!^E?btVN-Gg@Q8@ImU!xs!(F>v9FhAtSmaK*zH3|u(A<&&09Su%3"
        "T%O@<EIb`LNmQ0+ozUiAcOxd$^&6}od*}7)U(>83~GrsMkMvWRYcG06ojT$>>(W6F<9kjmHt5&UAwQAL?R;^mKYSpV&ty;Cd"
        "*|TQNn=fqHvu4egwrtt6X3N_)|Je"
    ),
    2: (
        "|JeWF01!$>Nk#wx0RR9200961|HA+a3;+-S7y$th0RO}Q761VO0RR910000000000000FB4FB2y2mt{A0ssKd{{U-iYinz3Y"
        "inz3Yinz3Yinz3Yinz3YW)Qb6&)oj^b|Bybd;~qP|;D+Qolh${RIsZj=cQ^4HJ&M{RIsZj=cQ^3-lB%(Yo{W6fM!Z^Yj!g(Y"
        "o{W6fe*<MCBvT&^1KmBhSz^MCBvT&@}x83v_P0{RInjZoK^k3v_P0{RIp36f{mc^Yj!nPCE1S6f{mc^Yj!iveRxl^X#<Sj=c"
        "LVHsh~8%TLfy(NWS;zd=JqM@dTk1q~G)B`fq4FVIlYIP1^QP|-N+&(KiOIP1^QP`^P!-5akzK|<XduRlRT-5akzK|=ilR8CS"
        "n{R31^Qat?wR8CSn{R2<XP`5_w&(Kh}M(fYeP`5_w&(Ki6K|@62uRlRUMB}eNK|@62uRlRT`z<!(uRhC7xa-fd({4KR?6my_"
        "4HX?FEA$jJRCJWD&`{A)(o(-cL;u+"
    ),
    3: (
        "|JeWF01!$>Nk#wx0RR9200961|HA+a3;+-S7y$th0RO}Q7XSeP0RaF20000000000000LD1q}b%00;pA00RI3=l=k;wY9aiw"
        "Y9aiwY9aiwY9aiwY9aiwYA?>R##YAT2xh5S6EqER8>}2SXo+BRaW0tS6EV0R8Ce`SW;6|PF7b~Qd3k;R#)FwSW;6|RZmw~Qd"
        "3k_Pght{Q&d$?S6JUzQd3k_R!~?{Q&d$}P*_q^R8>|`SW@3vQ&d$}P*GV^R8>|`QCU+|RaQ_@SySIyR8>|`QBqn|RaQ_@Qd("
        "41R!~t=T2$XuPESx#Qd3k;Pf$@(Q&dh*P*GA-R8HSjR##YAT2xh5S6EqER8>}2SXo+BRaW0tS6EV0R8Ce`SW;6|PF7b~Qd3k"
        ";R#)FwSW;6|RZmw~Qd3k_Pght{Q&d$?S6JUzQd3k_R!~?{Q&d$}P*_q^R8>|`SW@3vQ&d$}P*GV^R8>|`QCU+|RaQ_@SySIy"
        "R8>|`QBqn|RaQ_@Qd(41R!~t=T2$XuPESx#Qd3k;Pf$@(Q&dh*P*GA-R8HSjR##YAT2xh5S6EqER8>}2SXo+BRaXDm"
    ),
    4: (
        "|JeWF01!$>Nk#wx0RR9200961|HA+a3;+-S7y$th0RO}Q82|wR0RaI40000000000000341O^2R|Jncu0RaF6008;_0Q+9ow"
        "e5Re*R}0?Ue~qldtTSI?R#F=we5Re*R}W6Rw}C%Rf_xS#Z_Xeu~mKbj)<zqL{(#=D!%(25z!Tni0F#PM07=C@2qr1Ryrc99T"
        "8Rc)rzXcRbs09@l{x=tW{PozN)cRSgNd7-&QKC6;+C>@2qr1Ryrc99T8Rc*yxUktaL|2Ryrf1D<6GhqAIb`6<FwsufD8RRw}"
        "C%SKo@N#Z_Xev3>PbimJs`V!!{{"
    ),
    5: (
        "|JeWF01!$>Nk#wx0RR9200961|HA+a3;+-S7y$th0RO}Q761VO0RR910000000000000FB4FB2y2mt{A1polg{{U-iYinz3Y"
        "inz3Yinz3Yinz3Yinz3YWt2j<BlrhjyU6rxZ{pE;;uORjyS81GUJXa<BYiDin!x0IQy=xK(nm6>eLH5%dV|Jv#h%7?yW+#3e"
        "7sT3e+n!>eMSxtkbJL^GndK(@!+L3hgxWOVF;<Pc-|@w!3Y%^KGu%ZM@rSw%czu`wh0+ZMMU0w%cv6+ikYnY&QFjIOC2g<Bm"
        "Avin!yBIO482`;IuPjxytpD&vf}<BGWBE;#$Htw6J^y6V&mI?JxDK(nm6>+Y>WwF=ETwF=ZLH0snVP^{CdKJ!b^uG3F6y$bC"
        "#^GndK(@!+}&9=L3w)1VS+ikqtYqr~OHv0{>+ikYPZMNHOu-k36+iW)bjyU6vD&vkg<BGWBjyU43Ise%"
    ),
    6: (
        "|JeWF01!$>Nk#wx0RR9200961|HA+a3;+-S7y$th0RO}Q7XSeP0RaF20000000000000F91`Pk&00;pA00sa6=l=lO?RL9eu"
        "Ged|+U<6`U9Q(_wc71=yIro=YWgUol4;tCDI}V9qKZi-ov5PvD5YKKAc`qhdI%zlRo;RKqWUP-wTK{!HLYR@B8_WUf(WAeH7"
        "i=yAdO1awTL59wXI?Z)cPpawTK{!HLYR@B8_WUf(WAeD5YKKAc`qhdI%zlRo;RKqWxE0edr-o*I#-FRdv_if)!l)D5R2U+KM"
        "S8ns%a!NhY1BqWUPMUFaZ+DOY+3B8pYsf(WAeDAu)zAc{4uVhAFQYgmE^qWU!}TGk+qO4hZABT}`kVhGgwDAu)zAc{4uVhAF"
        "QYgmE^qWUPMUFaZ+DOY+3B8pYsf(WAhS6zMRAywC3dI(i@*WQ8^T>2=al4;tCDI}V9qKZi-ov5S#*#"
    ),
    7: (
        "|JeWF01!$>Nk#wx0RR9200961|HA+a3;+-S7y$th0RO}Q761VO0RR910000000000000IB4FB2y2mt{A2LJ%i{?)5ity;Be)"
        "vH#mTD5A`t5&UAwZ5%l#j95*R<UB$tCOo(v1--H)vUg;V${l&s93RTWlGd6ShX^xY8EWMv1(<>)u>ptGUV#iELxdzb!rwZzO"
        "^#s>(nV)nR0dN6s=6TI`s-xroOdOb?OwUTB$nq3RJCBoqB~TR;s?aTD1yPs$8vFg(_7pR;@ynDwiw1okE2wRVq%QLX|3&Cs3"
        "hEl}eMSzO7=#t5+vhv0~M$ldD*<YSqcrtiG{g)XJ5pSg~qlO4KY^wKAn@7A(H8YGujQs93c!<m%KcTA6ZnY8EZNwKC-E)G1n"
        "-a&_tytxUN(^$J#|zO_<y>J+J3sXFxvRIOB<dW9-hs=m2ewF*?KT&-G#Dpf94twNP5mn*)VLWL?-Do&w7l`54dP@zhdN|UI*"
        "tzyNiS0`4nV%4jYt5~sW)ydVY|Je"
    ),
}
EXTENDED = (
    "|JeWF01!$>Nk#wx0RR9200961|JwjV009930RaI40RaI40RaI40s#R50RaL50RaL60s;a80s;a90|WyD0|NsB0s{mC0|W#F1"
    "Ox&D1qB2I1q1{H1pmPR3k(1d02l!Q5di<h02KfM0RR9100000000000000D4*$de8xQ~i1Oos70000000000000XBCpbn`Vs"
    "ro600;pA002J#n%@Tq?xF)5g0Aq<G5`({-9!dA1zq8yWB?o^x`+&J3cJHaIsOh2-9!dA1zq8yWB?o^x`+&J3cJHZ$N)G;br2"
    "Zb6?cY<|Je"
)
HIGH_THROUGHPUT = (
    "|4;u>04YEK0000O0000G00000000000000O0000G0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?k"
    "dTm&kdTm&kdTmwh=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00001L;wN*lfVEbZTkfWbO68r5`Y>4hjakI0206e6M"
    "*{w2Xp{7()a*^GyuQ=6%YUgYybf$0^IvRVtthW0v-Z11T_8tAp?H40NYBuQ~<yL7L))1Y(M}OfJjsTV0Mf70(1F)OhiFyI+y"
    "^$fWZX_06|~~7zhT#Km-a9fDCz5m74${3elM$$qfBK4H}173Ag~j04~k|0e5f!3$N7#8XTxg!Zv`!VjxZU1cHY`Wr4sG0Ky{"
    ">(PtVLW)n>1eDu(-on|YEt`LoScfEb+0TCkz6r*fhR`yt!q=f-I0sw^3;0*x*d;|ap!|-qjKz0a11Gxks3XY=>7F*QEt@5E)"
    "*FI^Mn~z=ro93v<>&(beN-~JDXi2XqC9N$h{xBw|cK<G^^7SdyHr;>sDf+wET@p+Cq*?+0*#"
)


def of(stream: bytes, syntax: UID, pixels: np.ndarray, bits: int = 12) -> pydicom.Dataset:
    dataset = dicom(pixels, syntax, bits)
    dataset.PixelData = encapsulate([stream])
    return dataset


def compressed(pixels: np.ndarray, syntax: UID, **options: Any) -> pydicom.Dataset:
    dataset = dicom(pixels, ExplicitVRLittleEndian, 8 if pixels.dtype == np.uint8 else 12)
    dataset.compress(syntax, **options)
    return dataset


def raw(dataset: pydicom.Dataset) -> np.ndarray:
    return read_scan(saved(dataset), name="x.dcm").raw


PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


@pytest.mark.parametrize("syntax", PLAIN, ids=lambda s: s.name)
def test_plain(syntax: UID) -> None:
    assert np.array_equal(raw(dicom(DEEP, syntax, 12)), DEEP)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=lambda s: s.name)
@pytest.mark.parametrize("pixels", [(DEEP // 16).astype(np.uint8), DEEP, (DEEP - 2048.0).astype(np.int16)])
def test_without_loss(syntax: UID, pixels: np.ndarray) -> None:
    pixels = np.tile(pixels, (4, 4))
    assert np.array_equal(raw(compressed(pixels, syntax)), pixels)


@pytest.mark.parametrize("predictor", LOSSLESS)
def test_jpeg_lossless(predictor: int) -> None:
    syntax = JPEGLosslessSV1 if predictor == 1 else JPEGLossless
    assert np.array_equal(raw(of(base64.b85decode(LOSSLESS[predictor]), syntax, DEEP)), DEEP)


def test_jpeg_of_12_bits() -> None:
    found = raw(of(base64.b85decode(EXTENDED), JPEGExtended12Bit, SMOOTH))
    assert found.max() > 255 and np.abs(found.astype(int) - SMOOTH).max() <= 16, "cosines lose a little"


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit], ids=lambda s: s.name)
def test_jpeg_of_8_bits(syntax: UID) -> None:
    pixels = (SMOOTH // 16).astype(np.uint8)
    found = raw(of(encode(Image.fromarray(pixels), "JPEG", quality=98), syntax, pixels, 8))
    assert np.abs(found.astype(int) - pixels).max() <= 3


def test_jpeg_ls_that_loses_a_little() -> None:
    found = raw(compressed(DEEP, JPEGLSNearLossless, jls_error=2))
    assert 0 < np.abs(found.astype(int) - DEEP).max() <= 2


def test_jpeg_2000_that_loses_a_little() -> None:
    pixels = np.tile(SMOOTH, (4, 4))
    found = raw(compressed(pixels, JPEG2000, j2k_psnr=[70]))
    assert np.abs(found.astype(int) - pixels).max() <= 16


@pytest.mark.parametrize("syntax", [HTJ2K, HTJ2KLossless], ids=lambda s: s.name)
def test_high_throughput_jpeg_2000(syntax: UID) -> None:
    assert np.array_equal(raw(of(base64.b85decode(HIGH_THROUGHPUT), syntax, DEEP)), DEEP)


def test_colours_shifts_and_restarts() -> None:
    pixels = np.random.default_rng(0).integers(0, 64, (9, 17, 3)) << 2
    assert np.array_equal(decode_jpeg(lossless(pixels, 2, 2)), pixels)
    assert np.array_equal(decode_jpeg(lossless(pixels[..., :1], 2, 0)), pixels[..., 0])


def lossless(pixels: np.ndarray, shift: int, rows: int) -> bytes:
    """An 8-bit lossless JPEG (H, W, components), predictor 4, all codes of 5 bits; a restart every `rows` rows."""
    height, width, count = pixels.shape

    def size(n: int) -> bytes:
        return n.to_bytes(2, "big")

    table = b"\0" + bytes([0, 0, 0, 0, 17, *[0] * 11]) + bytes(range(17))
    frame = b"\x08" + size(height) + size(width) + bytes([count]) + b"".join(bytes([i, 0x11, 0]) for i in range(count))
    scan = bytes([count]) + b"".join(bytes([i, 0]) for i in range(count)) + bytes([4, 0, shift])
    heads = [(0xC4, table), (0xC3, frame), *([(0xDD, size(rows * width))] if rows else []), (0xDA, scan)]
    stream = b"\xff\xd8" + b"".join(b"\xff" + bytes([m]) + size(len(b) + 2) + b for m, b in heads)
    values = pixels.astype(int) >> shift
    for number, top in enumerate(range(0, height, rows or height)):
        band, bits = values[top : top + (rows or height)], ""
        for y, x, c in np.ndindex(band.shape):
            a, b, d = band[y, x - 1, c], band[y - 1, x, c], band[y - 1, x - 1, c]
            n = int(band[y, x, c] - (a + b - d if x and y else a if x else b if y else 1 << (7 - shift)))
            length = abs(n).bit_length()
            bits += f"{length:05b}" + (f"{n if n > 0 else n + (1 << length) - 1:0{length}b}" if length else "")
        bits += "1" * (-len(bits) % 8)
        codes = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
        stream += (bytes([0xFF, 0xD0 + (number - 1) % 8]) if number else b"") + codes
    return stream + b"\xff\xd9"


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGExtended12Bit, JPEGLSLossless], ids=lambda s: s.name)
def test_damaged_streams_are_read_or_refused(syntax: UID) -> None:
    """GDCM ends the process on some of these; CharLS looks ten seconds for an end that is lost."""
    good = pydicom.dcmread(io.BytesIO(saved(compressed(DEEP, JPEGLSLossless))))
    stream = {
        JPEGLosslessSV1: base64.b85decode(LOSSLESS[1]),
        JPEGExtended12Bit: base64.b85decode(EXTENDED),
        JPEGLSLossless: get_frame(good.PixelData, 0, number_of_frames=1),
    }[syntax]
    random, refused = np.random.default_rng(7), 0
    for case in range(300):
        broken = bytearray(stream[: random.integers(4, len(stream))] if case % 5 == 0 else stream)
        for place in random.integers(2, len(broken), random.integers(1, 6)):
            broken[place] = random.integers(256)
        try:
            assert raw(of(bytes(broken), syntax, DEEP)).shape == DEEP.shape
        except ScanError as error:
            assert "cannot be decoded here" in str(error)
            refused += 1
    assert refused > 30


@pytest.mark.parametrize("count", [2**14, 2**13 - 1])
def test_a_stream_that_would_take_too_long(count: int) -> None:
    """Restarts, or pixels, without number: refused before anything is decoded."""
    stream = base64.b85decode(LOSSLESS[1]).removesuffix(b"\xff\xd9") + b"\xff\xd0" * count
    if count > RESTARTS:
        with pytest.raises(ValueError, match="too long"):
            decode_jpeg(stream)
    else:
        assert np.array_equal(decode_jpeg(stream), DEEP)
    at = stream.index(b"\xff\xc3") + 5
    with pytest.raises(ValueError, match="too long"):
        decode_jpeg(stream[:at] + b"\x20\0\x20\0" + stream[at + 4 :])


def test_a_stream_that_ends_too_early() -> None:
    with pytest.raises(ScanError) as error:
        raw(of(base64.b85decode(LOSSLESS[1])[:250], JPEGLosslessSV1, DEEP))
    assert "JPEG Lossless" in sentence(error)


def test_one_decoder_each() -> None:
    """What else is installed is not asked: it may be under the GPL, or end the process."""
    assert set(DECODERS.values()) == {PLUGIN, "pillow", "pydicom", "pylibjpeg"}
    with pytest.MonkeyPatch.context() as patch:
        decoders = pydicom.pixels.get_decoder(JPEGLosslessSV1)._available
        own = decoders.pop(PLUGIN)
        patch.setitem(decoders, "another", lambda *_: pytest.fail("was asked"))
        decoders[PLUGIN] = own
        assert np.array_equal(raw(of(base64.b85decode(LOSSLESS[1]), JPEGLosslessSV1, DEEP)), DEEP)


@pytest.mark.parametrize(
    "syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGBaseline8Bit], ids=lambda s: s.name
)
def test_colours_of_a_stream_lie_as_they_do_whatever_the_tag_says(syntax: UID) -> None:
    """Many a tag tells of the file before it was compressed."""
    colours = np.tile(np.stack([_X * 9, _Y * 12, _X + _Y * 5], axis=-1).astype(np.uint8), (4, 4, 1))
    dataset = dicom(colours[..., 0])
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.PixelData = colours.tobytes()
    reference = raw(dataset).astype(int)
    if syntax == JPEGBaseline8Bit:
        stream = encode(Image.fromarray(colours), "JPEG", quality=98, subsampling=0)
        dataset.file_meta.TransferSyntaxUID, dataset.PixelData = syntax, encapsulate([stream])
        dataset.PhotometricInterpretation = "YBR_FULL"
    else:
        dataset.compress(syntax)
    for planes in (0, 1):
        dataset.PlanarConfiguration = planes
        assert np.abs(raw(dataset).astype(int) - reference).max() <= (8 if syntax == JPEGBaseline8Bit else 0)
