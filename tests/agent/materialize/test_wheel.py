"""Reading a wheel: what is accepted, what is refused, and that nothing else can happen."""

from __future__ import annotations

import io
import os
import re
import warnings
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envagent.errors import ArtifactRefused
from envagent.materialize import member
from envagent.materialize.member import Damaged, write
from envagent.materialize.wheel import Bounds, read_wheel
from fixtures.raw_wheels import RawWheel


def _refusal(path, filename=None, **options) -> str:
    with pytest.raises(ArtifactRefused) as caught:
        read_wheel(path, filename=filename or path.name, **options)
    return caught.value.problem


def test_a_sound_wheel_is_read_with_its_name_members_and_entry_points(tmp_path):
    raw = RawWheel().add("demo_pkg/__init__.py", b"x = 1\n").add("demo_pkg/tool", b"#!/bin/sh\n", 0o755)
    raw.add(f"{raw.info}/entry_points.txt", b"[console_scripts]\ndemo = demo_pkg:main.run\n")
    wheel = read_wheel(raw.write(tmp_path), filename=raw.filename)
    assert (wheel.name, wheel.stem, wheel.size) == ("demo-pkg", "demo_pkg-1.0", sum(m.size for m in wheel.members))
    assert [(m.path, m.executable) for m in wheel.members][:2] == [
        ("demo_pkg/__init__.py", False),
        ("demo_pkg/tool", True),
    ]
    assert [(p.name, p.module, p.attr) for p in wheel.entry_points] == [("demo", "demo_pkg", "main.run")]
    assert f"{raw.info}/RECORD" not in {m.path for m in wheel.members}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../evil.py", "component"),
        ("demo_pkg/../../evil.py", "component"),
        ("demo_pkg//x.py", "component"),
        ("./x.py", "component"),
        ("/etc/passwd", "absolute"),
        ("C:/windows.py", "absolute"),
        ("demo_pkg\\x.py", "backslash"),
        ("demo_pkg/a\nb.py", "control character"),
        ("demo_pkg/" + "x" * 256, "too long"),
        ("../", "component"),
    ],
)
def test_a_name_that_could_leave_the_tree_is_refused(tmp_path, name, problem):
    assert problem in _refusal(RawWheel().add(name, b"").write(tmp_path))


def test_a_name_with_a_nul_is_refused_and_not_cut_at_it(tmp_path):
    path = RawWheel().add("demo_pkg/aXb.py", b"").write(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"aXb.py", b"a\0b.py"))
    assert "control character" in _refusal(path)


def test_a_symlink_is_refused(tmp_path):
    assert "symlink" in _refusal(RawWheel().add_symlink("demo_pkg/link", "/etc/passwd").write(tmp_path))


def test_two_members_of_one_name_are_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = RawWheel().add("demo_pkg/a.py", b"1").add("demo_pkg/a.py", b"1").write(tmp_path)
    assert "would be the same file" in _refusal(path)


def test_names_equal_but_for_case_are_refused(tmp_path):
    path = RawWheel().add("demo_pkg/Readme", b"").add("demo_pkg/README", b"").write(tmp_path)
    assert _refusal(path) == "demo_pkg/Readme and demo_pkg/README would be the same file"


def test_a_file_that_is_also_a_directory_is_refused(tmp_path):
    path = RawWheel().add("demo_pkg/a", b"").add("demo_pkg/a/b", b"").write(tmp_path)
    assert _refusal(path) == "demo_pkg/a and demo_pkg/a/b would be the same file"


def test_an_encrypted_member_is_refused(tmp_path):
    path = RawWheel().add("demo_pkg/a.py", b"x").write(tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "demo_pkg/a.py is encrypted" in _refusal(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_wheels_do_not_use_is_refused(tmp_path, method):
    assert "is compressed by method" in _refusal(RawWheel(compression=method).add("a.py", b"x" * 99).write(tmp_path))


def test_a_wheel_that_unpacks_to_far_more_than_itself_is_refused(tmp_path):
    path = RawWheel().add("demo_pkg/zeros", bytes(1 << 20)).write(tmp_path)
    assert "zip bomb" in _refusal(path, bounds=Bounds(ratio=10, free_bytes=1 << 10))
    assert "more than the 3 allowed" in _refusal(path, bounds=Bounds(members=3))


def test_members_that_share_their_bytes_are_refused(tmp_path):
    path = RawWheel().add("demo_pkg/a.py", b"x" * 100).add("demo_pkg/b.py", b"x" * 100).write(tmp_path)
    data = bytearray(path.read_bytes())
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    data[second + 42 : second + 46] = bytes(4)  # the offset of the local header
    path.write_bytes(data)
    assert "overlaps" in _refusal(path)


def test_a_local_name_that_differs_from_the_directory_is_refused_when_unpacked(tmp_path):
    raw = RawWheel().add("demo_pkg/a.py", b"x = 1\n")
    path = raw.write(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"demo_pkg/a.py", b"demo_pkg/b.py", 1))
    wheel = read_wheel(path, filename=raw.filename)
    fd = os.open(path, os.O_RDONLY)
    with pytest.raises(Damaged, match="another name"):
        write(fd, wheel.members[0], str(tmp_path / "out"))
    os.close(fd)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"demo_pkg/a.py,,\n", "does not vouch for demo_pkg/a.py"),
        (b"", "does not vouch for demo_pkg/a.py"),
        (b"demo_pkg/a.py,md5=1B2M2Y8AsgTpgAmY7PhCfg,0\n", "not one of sha256"),
        (b"demo_pkg/a.py,sha256=AAAA,0\n", "broken digest or size for 'demo_pkg/a.py'"),
        (b"demo_pkg/a.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,9\n", "it says 9 bytes, there are 0"),
        (b"demo_pkg/a.py\n", "a row of 1 fields"),
        (b"\xff\n", "not CSV in UTF-8"),
        (b"demo_pkg/gone.py,,\n", "lists demo_pkg/gone.py, which is not in the archive"),
    ],
)
def test_a_record_that_does_not_vouch_for_every_file_is_refused(tmp_path, row, problem):
    raw = RawWheel()
    good = raw._record(raw.members()[:-1])
    raw.add("demo_pkg/a.py", b"")
    raw.record = good + row
    assert problem in _refusal(raw.write(tmp_path))


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (RawWheel(metadata=b"Name: other\nVersion: 1.0\n\n"), "METADATA is that of other 1.0"),
        (RawWheel(metadata=b"Name: demo-pkg\nVersion: 1.1\n\n"), "METADATA is that of demo-pkg 1.1"),
        (RawWheel(format_version="2.0"), "wheel format version '2.0'"),
        (RawWheel(files=[("other-1.0.dist-info/METADATA", b"", 0)]), "2 .dist-info directories"),
    ],
)
def test_an_inside_that_is_not_what_the_filename_promises_is_refused(tmp_path, raw, problem):
    assert problem in _refusal(raw.write(tmp_path))


def test_a_renamed_wheel_is_refused(tmp_path):
    path = RawWheel().write(tmp_path)
    assert _refusal(path, "other-1.0-py3-none-any.whl") == "inside it calls itself demo_pkg-1.0"
    assert "its name is not a wheel's" in _refusal(path, "demo.zip")


@pytest.mark.parametrize("value", ["demo_pkg", "demo_pkg:", "os;evil:x", "a.b:c()", ""])
def test_an_entry_point_that_names_no_function_is_refused(tmp_path, value):
    raw = RawWheel()
    raw.add(f"{raw.info}/entry_points.txt", f"[console_scripts]\ndemo = {value}\n".encode())
    assert "names no function" in _refusal(raw.write(tmp_path))


@pytest.mark.parametrize("name", ["../evil", "..", "a/b"])
def test_an_entry_point_whose_script_would_leave_bin_is_refused(tmp_path, name):
    raw = RawWheel()
    raw.add(f"{raw.info}/entry_points.txt", f"[gui_scripts]\n{name} = demo_pkg:main\n".encode())
    assert "declares a script named" in _refusal(raw.write(tmp_path))


def test_a_truncated_wheel_is_refused_wherever_it_ends(tmp_path):
    path = RawWheel().add("demo_pkg/a.py", b"x = 1\n").write(tmp_path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        _refusal(path)


_SOUND = RawWheel().add("demo_pkg/a.py", b"x = 1\n" * 40).add("demo_pkg/b.bin", bytes(range(256)))


@pytest.mark.parametrize("one_shot", [1 << 20, 0], ids=["in one call", "streamed"])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, len(_SOUND.bytes()) - 1), st.binary(min_size=1, max_size=6)), max_size=6),
    cut=st.integers(0, 64),
)
def test_a_damaged_wheel_is_refused_or_unpacks_to_what_record_promises(tmp_path, monkeypatch, one_shot, edits, cut):
    monkeypatch.setattr(member, "MAX_ONE_SHOT_BYTES", one_shot)
    data = bytearray(_SOUND.bytes())
    for position, patch in edits:
        data[position : position + len(patch)] = patch
    path = tmp_path / _SOUND.filename
    path.write_bytes(data[: len(data) - cut])
    _unpack_or_refuse(path, tmp_path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(tmp_path, data):
    path = tmp_path / _SOUND.filename
    path.write_bytes(data)
    _refusal(path)


def _unpack_or_refuse(path, folder) -> None:
    try:
        wheel = read_wheel(path, filename=_SOUND.filename)
    except ArtifactRefused:
        return
    promised = {name: content for name, content, _ in _SOUND.members()}
    fd = os.open(path, os.O_RDONLY)
    for each in wheel.members:
        target = folder / "unpacked"
        target.unlink(missing_ok=True)
        try:
            write(fd, each, str(target))
        except Damaged:
            continue
        assert target.read_bytes() == promised[each.path]
    os.close(fd)


def test_every_shape_of_zip_that_the_standard_library_writes_is_read(tmp_path):
    """Streams without seeking carry data descriptors, big archives zip64 extras."""

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *_):
            raise OSError("a pipe")

    pipe = Pipe()
    raw = RawWheel().add("demo_pkg/a.py", b"x = 1\n")
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data, _ in raw.members():
            with archive.open(name, "w", force_zip64=True) as out:
                out.write(data)
    path = tmp_path / raw.filename
    path.write_bytes(pipe.getvalue())
    wheel = read_wheel(path, filename=raw.filename)
    fd = os.open(path, os.O_RDONLY)
    write(fd, wheel.members[0], str(tmp_path / "out"))
    os.close(fd)
    assert (tmp_path / "out").read_bytes() == b"x = 1\n"


@pytest.mark.parametrize(
    "sloppy",
    [
        lambda record: record.replace(b"\n", b"\r\n"),
        lambda record: record.replace(b"sha256=", b"SHA256="),
        lambda record: b"demo_pkg/,,\n" + record,
        lambda record: record.replace(b"RECORD,,\n", b"RECORD,,\ndemo_pkg-1.0.dist-info/RECORD.jws,,\n"),
        lambda record: re.sub(rb"(sha256=[^,]+),\d+", rb"\1=,", record),
    ],
    ids=["CRLF", "capitals", "a directory", "a signature without a hash", "padding, and no sizes"],
)
def test_a_record_that_is_sloppy_but_true_is_taken_as_other_installers_take_it(tmp_path, sloppy):
    sound = RawWheel().add("demo_pkg/__init__.py", b"x = 1\n")
    raw = RawWheel(record=sloppy(sound._record(sound.members()[:-1]))).add("demo_pkg/__init__.py", b"x = 1\n")
    if b"RECORD.jws" in raw.record:
        raw.add(f"{raw.info}/RECORD.jws", b"{}")
    wheel = read_wheel(raw.write(tmp_path), filename=raw.filename)
    assert "demo_pkg/__init__.py" in {member.path for member in wheel.members}
