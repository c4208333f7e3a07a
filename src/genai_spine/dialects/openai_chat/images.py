"""The images of an answer: no word of OpenAI's own, but of all who give models that paint by its API.

    "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}, "index": 0}]

stands beside `content`, and whole in one delta of a stream; callers send it back with the message.

Sources: openrouter.ai/docs/features/multimodal/image-generation,
vercel.com/docs/ai-gateway/openai-compat/image-generation; LiteLLM's: github.com/BerriAI/litellm/pull/13983 (2026-11).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from genai_spine.dialects.media_types import sniffed
from genai_spine.dialects.metadata import extend, keep, kept, unknown
from genai_spine.dialects.openai_chat.schema import DIALECT
from genai_spine.model.content import Image, Opaque, Part, split_data_url


def images_of(entries: Iterable[Any]) -> list[Part]:
    return [_image_of(entry, position) for position, entry in enumerate(entries)]


def _image_of(entry: Any, position: int) -> Part:
    """The image of one entry, which keeps its index as a sign of where it came from; what is none stays as it is."""
    inner = entry.get("image_url") if isinstance(entry, dict) else None
    url = inner.get("url") if isinstance(inner, dict) else None
    if not isinstance(url, str) or not url or not isinstance(inner, dict):
        return Opaque(dialect=DIALECT, kind="images", raw=msgspec.Raw(msgspec.json.encode(entry)))
    members = {"index": position, **unknown(entry, ("type", "image_url"))}
    if more := unknown(inner, ("url",)):
        members["image_url"] = more
    metadata = keep(DIALECT, members)
    if (split := split_data_url(url)) is not None:
        return Image(media_type=split[0], data=split[1], provider_metadata=metadata)
    return Image(url=url, provider_metadata=metadata)


def is_of_images(image: Image) -> bool:
    """Whether it stood in `images`, not among the parts of the content."""
    return "index" in kept(image.provider_metadata, DIALECT)


def url_of(image: Image) -> str | None:
    """None for an image that only its provider can find."""
    if image.data is not None:
        return f"data:{image.media_type or sniffed(image.data) or 'image/png'};base64,{image.data}"
    return image.url


def is_shown(image: Image) -> bool:
    return image.data is not None or image.url is not None


def images_written(images: Iterable[Image], first: int = 0) -> list[Mapping[str, Any]]:
    return [
        extend(
            {"type": "image_url", "image_url": {"url": url_of(image)}, "index": index},
            image.provider_metadata,
            DIALECT,
        )
        for index, image in enumerate(images, first)
    ]
