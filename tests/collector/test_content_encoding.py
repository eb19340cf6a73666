import gzip
import os
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard

from collector.encoding import decompress, encoding_of
from collector.errors import BodyTooLarge, MalformedBody, Overloaded, UnsupportedEncoding
from collector.limits import MIB

BOUND = 64 * MIB
TEXT = b"the same history again and again, " * 40_000 + os.urandom(70_000)


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


COMPRESS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstandard.compress),
    "zstd of unknown size": ("zstd", lambda body: zstandard.ZstdCompressor(write_content_size=False).compress(body)),
}
ALL = pytest.mark.parametrize(("encoding", "compress"), COMPRESS.values(), ids=COMPRESS)


def expand(encoding: str, body: bytes, bytes_max: int = BOUND) -> bytes:
    return decompress(encoding, body, bytes_max=bytes_max, on_growth=lambda _: None)


@ALL
@pytest.mark.parametrize("body", [b"", b"x", TEXT], ids=["empty", "a byte", "a large body"])
def test_what_was_compressed_comes_back(encoding: str, compress: Callable[[bytes], bytes], body: bytes) -> None:
    assert expand(encoding, compress(body)) == body


def test_identity_is_the_body_itself() -> None:
    assert expand("identity", TEXT) is TEXT


@ALL
def test_a_body_of_exactly_the_bound_passes_and_a_byte_more_does_not(
    encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    assert expand(encoding, compress(TEXT), len(TEXT)) == TEXT
    with pytest.raises(BodyTooLarge, match=f"larger than {len(TEXT) - 1:,} bytes"):
        expand(encoding, compress(TEXT), len(TEXT) - 1)


def test_an_identity_body_past_the_bound_is_refused() -> None:
    with pytest.raises(BodyTooLarge):
        expand("identity", TEXT, len(TEXT) - 1)


@ALL
def test_300_mb_of_zeros_are_refused_long_before_they_are_expanded(
    encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    bomb = compress(bytes(300_000_000))
    assert len(bomb) < 400_000
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            expand(encoding, bomb, MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 * MIB


@ALL
def test_every_truncation_is_an_error(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    body = compress(b"a body that is cut on its way " * 3)
    for end in range(len(body)):
        with pytest.raises(MalformedBody):
            expand(encoding, body[:end])


@ALL
def test_a_large_truncated_stream_says_that_it_was_cut(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    with pytest.raises(MalformedBody, match="ends before its stream does"):
        expand(encoding, compress(TEXT)[:-10])


@ALL
def test_bytes_after_the_stream_are_an_error(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    with pytest.raises(MalformedBody):
        expand(encoding, compress(TEXT) + b"tail")


@ALL
def test_bytes_that_are_not_compressed_are_an_error_that_names_the_encoding(
    encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(MalformedBody, match=encoding):
        expand(encoding, b"\xff not compressed at all")


@pytest.mark.parametrize(("encoding", "compress"), [COMPRESS["gzip"], COMPRESS["zstd"]], ids=["gzip", "zstd"])
def test_several_streams_in_one_body_are_one_body(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    assert expand(encoding, compress(TEXT) + compress(b"") + compress(b"more")) == TEXT + b"more"


@pytest.mark.parametrize(("encoding", "compress"), [COMPRESS["gzip"], COMPRESS["zstd"]], ids=["gzip", "zstd"])
def test_endlessly_many_streams_are_refused(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    with pytest.raises(MalformedBody, match="4096 streams"):
        expand(encoding, compress(b"") * 5000)


def test_a_zstd_frame_with_a_window_past_the_bound_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(MalformedBody, match="zstd"):
        expand("zstd", compressor.compress(TEXT) + compressor.flush())


def test_a_zstd_frame_that_is_to_be_skipped_adds_nothing() -> None:
    skippable = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    assert expand("zstd", skippable + zstandard.compress(TEXT)) == TEXT


@ALL
def test_growth_is_reported_before_it_is_kept_and_may_stop_it(
    encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    grown: list[int] = []
    decompress(encoding, compress(TEXT), bytes_max=BOUND, on_growth=grown.append)
    assert sum(grown) == len(TEXT)

    def full(_: int) -> None:
        raise Overloaded("full")

    with pytest.raises(Overloaded):
        decompress(encoding, compress(TEXT), bytes_max=BOUND, on_growth=full)


@pytest.mark.parametrize(
    ("header", "name"),
    [("", "identity"), ("identity", "identity"), (" GZIP ", "gzip"), ("x-gzip", "gzip"), ("zstd", "zstd")],
)
def test_a_known_encoding_is_found_in_its_header(header: str, name: str) -> None:
    assert encoding_of(header) == name


@pytest.mark.parametrize("header", ["br", "snappy", "gzip, zstd", "identity,gzip", "x-zstd"])
def test_an_unknown_or_a_second_encoding_is_refused_with_a_list_of_the_known(header: str) -> None:
    with pytest.raises(UnsupportedEncoding, match="gzip, deflate, zstd, identity"):
        encoding_of(header)
