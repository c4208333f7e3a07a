"""The media type of an image: as its bytes begin, else as its sender says, in the spelling that services know.

OpenAI takes an image under whatever type stands before it. Others look at the bytes ("was specified using the
image/png media type, but the image appears to be a image/jpeg image", Anthropic: BerriAI/litellm#24900; Bedrock:
aws-samples/amazon-bedrock-client-for-mac#130, boto/boto3#4415), and know no `image/jpg` (Anthropic:
BoundaryML/baml#1292; Bedrock: NousResearch/hermes-agent#55429; Gemini, which does not look at the bytes:
ogkalu2/comic-translate#399). Read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from genai_spine.model.content import Image

_BEGINNINGS = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
    "JVBERi0": "application/pdf",
}
_REGISTERED = {"image/jpg": "image/jpeg"}


def sniffed(data: str) -> str | None:
    """The media type of base64, by how it begins."""
    return next((kind for start, kind in _BEGINNINGS.items() if data.startswith(start)), None)


def spelled(media_type: str | None) -> str | None:
    """`Image/JPG;name=a` is "image/jpeg": lower case, without parameters, by its registered name."""
    if media_type is None:
        return None
    plain = media_type.partition(";")[0].strip().lower()
    return _REGISTERED.get(plain, plain)


def typed(image: Image, notice: Callable[[str, str, str | None], None], path: str) -> Image:
    """The image under its true type; a Notice tells where its sender named another."""
    said = spelled(image.media_type)
    found = (sniffed(image.data) if image.data is not None else None) or said
    if found == image.media_type:
        return image
    if said and found != said:
        notice("changed", f"the image is sent as {found}, as its bytes are, not as {said}", path)
    return msgspec.structs.replace(image, media_type=found)
