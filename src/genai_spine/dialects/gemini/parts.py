"""Parts of a content: of the wire to the middle's, and back.

`thoughtSignature` may stand on any part. It stays with its part, in the metadata of this dialect, and goes back as
it came (ai.google.dev/gemini-api/docs/thought-signatures, 2026-11). On a function call it is also kept in the
place that Google's OpenAI compatibility gives it, `extra_content.google.thought_signature`, so that callers of
OpenAI's format bring it back.

The proof of another service's thought stands there, too, for callers of this dialect (`proof_written`): bytes in
base64, as their clients read it. In a stream it comes behind the words of its thought, in a part of its own.

A part that the middle has no word for is `Opaque`: executableCode, codeExecutionResult, toolCall, and all to come.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from genai_spine.dialects.gemini.schema import DIALECT, in_camel, is_minted
from genai_spine.dialects.media_types import sniffed, spelled
from genai_spine.dialects.metadata import extend, keep, kept
from genai_spine.dialects.reading import Reader
from genai_spine.dialects.signatures import ANTHROPIC, OTHERS, named, split
from genai_spine.dialects.signed_calls import signature_in_chat, signed_metadata
from genai_spine.dialects.written import input_of
from genai_spine.model.content import (
    Audio,
    Document,
    Image,
    Opaque,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from genai_spine.wire import json

_LIKE_TEXT = ("text", "thought", "thoughtSignature")
_BESIDE_DATA = frozenset({"thought", "thoughtSignature", "partMetadata", "videoMetadata", "mediaResolution"})

# ---------------------------------------------------------------- from the wire


def part_of(reader: Reader, call_id: Callable[[], str], arguments: str | None = None) -> Part:
    """One part. `call_id` makes the id of a function call without one; `arguments` are a call's as the model wrote
    them, where they are known.

    Raises: InvalidRequest, naming the place.
    """
    reader = in_camel(reader)
    if reader.has("functionCall"):
        return _call_of(reader, call_id, arguments)
    if reader.has("functionResponse"):
        return _result_of(reader, call_id)
    if reader.has("inlineData"):
        return _inline_of(reader)
    if reader.has("fileData"):
        return _file_of(reader)
    if reader.has("text") or not reader.members.keys() - _LIKE_TEXT:
        text, is_thought = reader.text("text") or "", reader.boolean("thought")
        metadata = keep(DIALECT, reader.rest())
        if is_thought:
            return _thought_of(Thinking(text=text, provider_metadata=metadata), kept(metadata, DIALECT))
        return Text(text=text, provider_metadata=metadata)
    kind = next((name for name in reader.members if name not in _BESIDE_DATA), "part")
    return Opaque(dialect=DIALECT, kind=kind, raw=msgspec.Raw(json.encode(reader.members)))


def _thought_of(thought: Thinking, own: dict[str, Any]) -> Thinking:
    """With the proof of another service's, where it is one that `proof_written` wrote."""
    signature = own.get("thoughtSignature")
    if not isinstance(signature, str) or (found := _proof_of(signature)) is None:
        return thought
    kind, proof = found
    del own["thoughtSignature"]
    metadata = keep(DIALECT, own)
    if kind == "redacted":
        return Thinking(redacted=proof, provider_metadata=metadata)
    return Thinking(text=thought.text, signature=proof, provider_metadata=metadata)


def _proof_of(signature: str) -> tuple[str, str] | None:
    if not signature.startswith(ANOTHERS_PROOF):
        return None
    try:
        said = base64.b64decode(_standard(signature.rstrip("=")) + "=" * (-len(signature.rstrip("=")) % 4)).decode()
    except ValueError:
        return None  # by nobody that we know
    _, kind, maker, bare = (*said.split(":", 3), "", "", "")[:4]
    return (kind, named(maker, bare)) if maker in (ANTHROPIC, *OTHERS) and bare else None


def _call_of(reader: Reader, call_id: Callable[[], str], arguments: str | None) -> ToolCall:
    call = in_camel(reader.object("functionCall", required=True))
    name = call.text("name", required=True)
    args = call.mapping("args")
    if arguments is None:
        arguments = json.encode(args or {}).decode()
    own_id = call.text("id")
    reader.boolean("willContinue")
    reader.leave("functionCall", call.rest())
    return ToolCall(
        id=own_id or call_id(), name=name, arguments=arguments, provider_metadata=signed_metadata(reader.rest())
    )


def _result_of(reader: Reader, call_id: Callable[[], str]) -> ToolResult:
    """{"functionResponse": {"id": "c1", "name": "f", "response": {"output": "sunny"}, "parts": […]}}"""
    inner = in_camel(reader.object("functionResponse", required=True))
    name, response = inner.text("name", required=True), inner.mapping("response") or {}
    texts, is_error = _said_in(response)
    media = [part_of(item, call_id) for item in inner.objects("parts")]
    own_id = inner.text("id")
    rest = inner.rest()
    if response_written(texts, is_error=is_error) != response:
        rest["response"] = response
    reader.leave("functionResponse", rest)
    return ToolResult(
        call_id=own_id or call_id(),
        name=name,
        content=(*(Text(text=text) for text in texts), *media),
        is_error=is_error,
        provider_metadata=keep(DIALECT, reader.rest()),
    )


def _said_in(response: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The texts of a function's response, and whether they tell of an error: `output` and `error` are the names
    that the service knows; any other object is the output as a whole (ai.google.dev/api/caching#FunctionResponse)."""
    if not response:
        return [], False
    if response.keys() == {"error"} and isinstance(text := response["error"], str):
        return [text], True
    if response.keys() == {"output"}:
        output = response["output"]
        if isinstance(output, str):
            return [output], False
        if isinstance(output, list) and len(output) > 1 and all(isinstance(item, str) for item in output):
            return output, False
    return [json.encode(response).decode()], "error" in response


def _inline_of(reader: Reader) -> Part:
    blob = in_camel(reader.object("inlineData", required=True))
    media_type, data = blob.text("mimeType"), _standard(blob.text("data", required=True))
    reader.leave("inlineData", blob.rest())
    family = (media_type or "").partition("/")[0]
    if family == "image":
        return Image(data=data, media_type=media_type, provider_metadata=signed_metadata(reader.rest()))
    if family == "audio":
        known = _FORMATS.get(media_type or "")
        rest = reader.rest()
        if known is None or _AUDIO_TYPES[known] != media_type:
            rest["inlineData"] = {**rest.get("inlineData", {}), "mimeType": media_type}
        kind = known or (media_type or "").partition("/")[2]
        return Audio(data=data, format=kind, provider_metadata=keep(DIALECT, rest))
    return Document(data=data, media_type=media_type, provider_metadata=keep(DIALECT, reader.rest()))


_URL_SAFE = re.compile("[a-zA-Z0-9_-]*={0,2}")
_STANDARD = str.maketrans("-_", "+/")


def _standard(data: str) -> str:
    """Base64 in the alphabet that every service reads. Google takes the one for URLs, too, and its own clients write
    it (protobuf.dev/programming-guides/json, 2026-11; recorded)."""
    is_url_safe = ("-" in data or "_" in data) and _URL_SAFE.fullmatch(data) is not None
    return data.translate(_STANDARD) if is_url_safe else data


def _file_of(reader: Reader) -> Part:
    file = in_camel(reader.object("fileData", required=True))
    media_type, uri = file.text("mimeType"), file.text("fileUri", required=True)
    reader.leave("fileData", file.rest())
    metadata = keep(DIALECT, reader.rest())
    if (media_type or "").startswith("image/"):
        return Image(url=uri, media_type=media_type, provider_metadata=metadata)
    return Document(url=uri, media_type=media_type, provider_metadata=metadata)


_AUDIO_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "aiff": "audio/aiff",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "webm": "audio/webm",
    "m4a": "audio/m4a",
    "opus": "audio/opus",
    "pcm16": "audio/pcm",
}
_FORMATS = {kind: name for name, kind in _AUDIO_TYPES.items()} | {"audio/mpeg": "mp3", "audio/x-wav": "wav"}

# ---------------------------------------------------------------- to the wire


def finished(written: dict[str, Any], part: Part) -> dict[str, Any]:
    """The part with what its author said beside."""
    return extend(written, part.provider_metadata, DIALECT)


def text_part(text: str, part: Part) -> dict[str, Any]:
    return finished({"text": text}, part)


def thought_part(part: Thinking) -> dict[str, Any]:
    return finished({"text": part.text, "thought": True}, part)


ANOTHERS_PROOF = "Z2VuYWktc3BpbmU6"
"""Begins a `thoughtSignature` that is none of Google's: `genai-spine:` in base64."""


def proof_written(thought: Thinking) -> dict[str, Any]:
    """{"thoughtSignature": "Z2VuYWktc3BpbmU6…"}, in base64 `genai-spine:signature:anthropic:EqQBCg…`; nothing of a
    thought without a proof, nor of Google's, whose own stands in its metadata."""
    proof = thought.redacted if thought.redacted is not None else thought.signature
    if proof is None:
        return {}
    kind, (maker, bare) = "signature" if thought.redacted is None else "redacted", split(proof)
    said = f"genai-spine:{kind}:{maker}:{bare}".encode("utf-8", "replace")
    return {"thoughtSignature": base64.b64encode(said).decode()}


def call_part(call: ToolCall, arguments: msgspec.Raw) -> dict[str, Any]:
    function = {"name": call.name, "args": arguments}
    if not is_minted(call.id):
        function = {"id": call.id, **function}
    return _signed({"functionCall": function}, call)


def _signed(written: dict[str, Any], part: ToolCall | Image) -> dict[str, Any]:
    """The part with its signature, also one that a caller of OpenAI's format brought back."""
    finished(written, part)
    if "thoughtSignature" not in written and (found := signature_in_chat(part.provider_metadata)) is not None:
        written["thoughtSignature"] = found
    return written


def whole_args(call: ToolCall) -> msgspec.Raw:
    """The arguments in any case: what is no object goes out whole, under one name, rather than not at all."""
    return input_of(call) or msgspec.Raw(json.encode({"input": call.arguments}))


def response_written(texts: Sequence[str], *, is_error: bool) -> dict[str, Any]:
    """A function's response of the texts of a result. A text that is an object is said as that object, where the
    service would take it for the same."""
    if not texts:
        return {"error": ""} if is_error else {}
    if len(texts) > 1:
        return {"error": "\n".join(texts)} if is_error else {"output": list(texts)}
    found = _object(texts[0])
    if found is not None and ("error" in found if is_error else not found.keys() & {"output", "error"}):
        return found
    return {"error" if is_error else "output": texts[0]}


def _object(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        found = json.ANY.decode(text.encode())
    except (*json.UNREADABLE, UnicodeEncodeError):
        return None
    return found if isinstance(found, dict) and found else None


_BY_EXTENSION = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "mp4": "video/mp4",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
}


def media_part(part: Image | Audio | Document) -> dict[str, Any] | None:
    """`inlineData` or `fileData`; None for what has neither data nor a place that the service can reach.

    A URL of any host is taken as it is: the service fetches it (…/docs/file-input-methods, 2026-11).
    """
    if part.data is not None:
        written = {"inlineData": {"mimeType": _media_type(part), "data": part.data}}
        return _signed(written, part) if isinstance(part, Image) else finished(written, part)
    if isinstance(part, Audio):
        return None
    uri = part.url or _uri_of(part.file_id)
    if uri is None:
        return None
    file = {"fileUri": uri}
    media_type = part.media_type or _BY_EXTENSION.get(uri.partition("?")[0].rpartition(".")[2].lower())
    return finished({"fileData": {"mimeType": media_type, **file} if media_type is not None else file}, part)


_FILES = "https://generativelanguage.googleapis.com/v1beta/"
"""Where the files of the Gemini API are, whatever the request is sent to (recorded)."""


def _uri_of(file_id: str | None) -> str | None:
    """The URI of a file; None for an id of another service. A name such as `files/abc` is of the Gemini API."""
    if file_id is None or not file_id.startswith(("https://", "gs://", "files/")):
        return None
    return _FILES + file_id if file_id.startswith("files/") else file_id


def is_kept(uri: str) -> bool:
    """Whether Google keeps the file: in the Gemini API, or in Cloud Storage for Vertex."""
    return uri.startswith((_FILES, "gs://"))


def _media_type(part: Image | Audio | Document) -> str:
    if isinstance(part, Audio):
        own = kept(part.provider_metadata, DIALECT).get("inlineData")
        theirs = own.get("mimeType") if isinstance(own, dict) else None
        kind = part.format or "wav"
        return theirs if isinstance(theirs, str) else _AUDIO_TYPES.get(kind, f"audio/{kind}")
    if isinstance(part, Image):
        # Whatever the bytes are (recorded), but "Unsupported MIME type: image/jpg" (ogkalu2/comic-translate#399).
        return spelled(part.media_type) or sniffed(part.data or "") or "image/png"
    return part.media_type or "application/pdf"
