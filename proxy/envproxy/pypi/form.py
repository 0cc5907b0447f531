"""The form of the legacy upload API (multipart/form-data, RFC 7578): a few fields in memory, the file on disk.

Nothing of a form is believed here, and nothing grows with it: the fields that count are short, the others (a long
description, attestations) are read and dropped, and all of them together are bounded. The file goes to the store's
partial area in pieces and is hashed on the way; who sends it may go away at any byte.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from envproxy.engine.store import Partial
from envproxy.errors import ClientError, StorageFull, TooLarge

from .names import check_filename

MAX_FIELD_BYTES = 4096  # of a field that counts
MAX_FORM_BYTES = 32 << 20  # of everything but the file
_CHUNK_BYTES = 256 << 10
_DIGESTS = ("sha256_digest", "blake2_256_digest", "md5_digest")
_FIELDS = frozenset({":action", "protocol_version", "name", "version", *_DIGESTS})
_UNREADABLE = (ValueError, RuntimeError, HttpProcessingError)  # what aiohttp raises over a broken form


@dataclass(frozen=True, slots=True)
class Form:
    """An upload, whole: the fields that count, and what its one file is called."""

    fields: Mapping[str, str]
    filename: str

    def check(self, digests: Mapping[str, str]) -> None:
        """Raises ClientError unless the file arrived as it was sent: `digests` are those of what arrived."""
        for name in _DIGESTS:
            said = self.fields.get(name, "").lower()
            if said and said != digests[name]:
                raise ClientError(
                    f"{self.filename} arrived with {name} {digests[name]}, the form says {said}",
                    hint="the file changed on its way: upload it again",
                )


class Content:
    """The file of a form on its way into `partial`."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        self._blake2 = hashlib.blake2b(digest_size=32)
        self._md5 = hashlib.md5(usedforsecurity=False)

    def append(self, data: bytes) -> None:
        """Take more of the file (blocking). Raises StorageFull as soon as the disk refuses."""
        self._partial.append(data)
        self._blake2.update(data)
        self._md5.update(data)
        if self._partial.full:
            raise StorageFull(f"the disk had room for {self._partial.stored} bytes of the upload")

    def digests(self) -> dict[str, str]:
        """The digests of what arrived, called as in the form."""
        return dict(
            zip(_DIGESTS, (self._partial.digest(), self._blake2.hexdigest(), self._md5.hexdigest()), strict=True)
        )


async def read_form(request: web.Request, content: Content) -> Form:
    """Read the whole request, its file into `content`. Raises ClientError, TooLarge, StorageFull."""
    if request.content_type != "multipart/form-data":
        raise ClientError("an upload is a form (multipart/form-data)", hint="upload with twine or uv publish")
    try:
        form = await _read(request, content)
    except _UNREADABLE as error:
        raise ClientError(f"the form cannot be read: {error}") from error
    if form.fields.get(":action") != "file_upload":
        raise ClientError("the only :action of this upload API is file_upload")
    if form.fields.get("protocol_version", "1") != "1":
        raise ClientError("only protocol_version 1 of the upload API is understood")
    if not form.filename:
        raise ClientError("the form has no file in it", hint="the file is the field called content")
    return form


async def _read(request: web.Request, content: Content) -> Form:
    fields: dict[str, str] = {}
    filename, left = "", MAX_FORM_BYTES
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise ClientError("the form has a part that is no field")
        if part.name == "content":
            if filename:
                raise ClientError("the form has more than one file in it", hint="upload one file at a time")
            filename = part.filename or ""
            check_filename(filename)
            await _receive(part, content)
        elif part.name in _FIELDS:
            fields[part.name] = await _text(part)
        else:
            left = await _skip(part, left)
    return Form(fields, filename)


async def _receive(part: BodyPartReader, content: Content) -> None:
    while not part.at_eof():
        await asyncio.to_thread(content.append, await part.read_chunk(_CHUNK_BYTES))


async def _text(part: BodyPartReader) -> str:
    data = bytearray()
    while not part.at_eof():
        data += await part.read_chunk()
        if len(data) > MAX_FIELD_BYTES:
            raise TooLarge(f"the field {part.name} is longer than {MAX_FIELD_BYTES} bytes")
    return data.decode().strip()


async def _skip(part: BodyPartReader, left: int) -> int:
    while not part.at_eof():
        left -= len(await part.read_chunk(_CHUNK_BYTES))
        if left < 0:
            raise TooLarge(f"the form has more than {MAX_FORM_BYTES >> 20} MiB beside its file")
    return left
