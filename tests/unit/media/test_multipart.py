"""Forms, in and out of bytes."""

from __future__ import annotations

import contextlib
import time
import uuid
from email.generator import BytesGenerator
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco.content import ContentLeak
from fondaco.media.multipart import (
    MAX_FIELD_BYTES,
    MAX_FILE_BYTES,
    MAX_PARTS,
    BadForm,
    File,
    FileTooLarge,
    Form,
    boundary_of,
    read_form,
    write_form,
)

SECRET = b"spoken-words-4711"


def read(content_type: bytes, body: bytes) -> Form:
    return read_form(body, boundary_of(content_type))


def part(described: str, data: bytes, *headers: str) -> bytes:
    head = "\r\n".join((f"Content-Disposition: form-data; {described}", *headers))
    return b"--b\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n"


END = b"--b--\r\n"


def test_fields_and_files_come_as_they_were_sent() -> None:
    body = (
        part('name="model"', b"whisper-1")
        + part('name="kinds[]"', b"word")
        + part('name="kinds[]"', b"segment")
        + part(
            'name="file"; filename="Gr\xc3\xbc\xc3\x9fe; x.mp3"', b"\0\xff\r\n--", "Content-Type: audio/mpeg"
        )
        + END
    )
    form = read_form(body, b"b")
    assert form.text("model") == "whisper-1"
    assert form.texts("kinds") == ["word", "segment"]
    assert form.text("nothing") is None
    file = form.file("file")
    assert file is not None
    assert (bytes(file.data), file.content_type) == (b"\0\xff\r\n--", "audio/mpeg")


def test_a_form_of_another_library_is_read() -> None:
    made = MIMEMultipart("form-data", uuid.uuid4().hex)
    sent = MIMEApplication(bytes(range(256)) * 9, "octet-stream", lambda _: None)
    sent.set_payload(bytes(range(256)) * 9)
    sent.add_header("Content-Disposition", "form-data", name="file", filename="a.wav")
    made.attach(sent)
    out = BytesIO()
    BytesGenerator(out).flatten(made, linesep="\r\n")
    head, _, body = out.getvalue().partition(b"\r\n\r\n")
    content_type = head.partition(b"Content-Type: ")[2].partition(b"\r\nMIME")[0].replace(b"\r\n", b"")
    file = read(content_type, body).file("file")
    assert file is not None
    assert file.name == "a.wav"


@given(
    st.dictionaries(st.from_regex(r"[a-z_]{1,20}(\[\])?", fullmatch=True), st.text(max_size=200), max_size=6),
    st.binary(max_size=4000),
)
@settings(deadline=None, max_examples=60)
def test_what_is_written_is_read_again(fields: dict[str, str], data: bytes) -> None:
    content_type, body = write_form(fields.items(), [("file", File(memoryview(data), "a.wav", "audio/wav"))])
    form = read(content_type, body)
    assert {name: form.text(name) for name in fields} == fields
    file = form.file("file")
    assert file is not None
    assert (bytes(file.data), file.name, file.content_type) == (data, "a.wav", "audio/wav")


@given(st.binary(max_size=600), st.integers(0, 400), st.binary(max_size=12))
@settings(deadline=None, max_examples=200)
def test_no_bytes_bring_it_down(noise: bytes, at: int, put: bytes) -> None:
    _, good = write_form([("a", "1")], [("file", File(memoryview(b"data" * 20)))])
    boundary = good[2:34]
    for body in (noise, good[:at] + put + good[at + 3 :], b"--" + boundary + noise):
        with contextlib.suppress(BadForm):
            read_form(body, boundary)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"nothing at all",
        b"--b\r\nno colon\r\n\r\nx\r\n--b--",
        part('name="a"', b"1"),
        part('name="a"', b"1")[:-3],
        part("", b"1") + END,
        part('nam="a"', b"1") + END,
        part(f'name="{"n" * 300}"', b"1") + END,
        part('name="a"', b"\xff\xfe") + END,
        part('name="a"', b"1", *(f"h{n}: 1" for n in range(9))) + END,
        part('name="a"', b"1", "h: " + "x" * 5000) + END,
        part('name="a"', b"x" * (MAX_FIELD_BYTES + 1)) + END,
        part('name="a"', b"1") * (MAX_PARTS + 1) + END,
        b"--b" + b" " * 100 + b"\r\n" + END,
    ],
)
def test_what_is_no_form_or_too_much_of_one_is_refused_without_a_word_of_it(body: bytes) -> None:
    with pytest.raises(BadForm) as refused:
        read_form(body, b"b")
    assert str(refused.value)
    assert "no colon" not in str(refused.value)


def test_as_many_parts_as_are_taken_are_taken() -> None:
    form = read_form(part('name="a"', b"1") * MAX_PARTS + END, b"b")
    assert len(form.fields["a"]) == MAX_PARTS


def test_a_file_of_25_megabytes_is_taken_and_one_byte_more_is_not() -> None:
    file = File(memoryview(bytes(MAX_FILE_BYTES)))
    form = read(*write_form([], [("file", file)]))
    assert len(form.files["file"][0].data) == MAX_FILE_BYTES
    with pytest.raises(FileTooLarge):
        read(*write_form([], [("file", File(memoryview(bytes(MAX_FILE_BYTES + 1))))]))


@pytest.mark.parametrize(
    "body",
    [
        b"--b" + b"\r\n--bx" * 4_000_000,
        b"--b\r\n" + b"-" * 20_000_000,
        b"--b" + b" \t" * 10_000_000,
        b"\r\n" * 10_000_000,
        b"--b\r\na: " + b"\r" * 20_000_000,
        part('name="a"; filename="a"', b"\r\n--" * 5_000_000),
    ],
)
def test_a_hostile_body_takes_no_longer_than_a_good_one(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(BadForm):
        read_form(body, b"b")
    assert time.process_time() - began < 0.3


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data; charset=utf-8; boundary="a b"', b"a b"),
        (b"application/json", b""),
        (b"", b""),
        (b"multipart/mixed; boundary=abc", b""),
    ],
)
def test_a_forms_boundary_is_in_its_content_type(content_type: bytes, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize("told", [b"", b"; boundary=", b"; boundary=" + b"x" * 71, b"; boundary=\xff\x00"])
def test_a_form_without_a_good_boundary_is_refused(told: bytes) -> None:
    with pytest.raises(BadForm):
        boundary_of(b"multipart/form-data" + told)


def test_a_form_cannot_be_printed() -> None:
    form = read_form(part('name="prompt"', SECRET) + part('name="file"; filename="f"', SECRET) + END, b"b")
    assert SECRET.decode() not in repr(form) + repr(form.file("file"))
    with pytest.raises(ContentLeak):
        str(form)
