"""Tools under a common name, as Codex sends those of its MCP servers and of its agents.

    {"type": "namespace", "name": "mcp__zoo", "description": "Animals live here.",
     "tools": [{"type": "function", "name": "feed_lion", "parameters": {…}}]}
    {"type": "function_call", "call_id": "call_1", "namespace": "mcp__zoo", "name": "feed_lion", "arguments": "{}"}

The middle and all other dialects know single tools only: there the tool is called `mcp__zoo__feed_lion`. A caller of
this dialect reads its calls as above, for Codex refuses a call of the joined name ("unsupported call",
github.com/openai/codex/issues/23186, read 2026-11). Source: `NamespaceToolParam` and `FunctionToolCall` of OpenAI's
openapi.json (2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.openai_responses.schema import DIALECT, IN_NAMESPACE, ITEM
from genai_spine.dialects.reading import Reader
from genai_spine.model.content import Part, ToolCall
from genai_spine.model.request import CompletionRequest, ProviderTool, Tool
from genai_spine.model.tool_names import sayable

Written: TypeAlias = dict[str, Any] | msgspec.Raw


def joined(namespace: str, name: str) -> str:
    """The one name of a tool in a namespace; the same for the tool and for its calls.

    A tool that the service has found by its own search is said to be in a namespace of its own name (recorded).
    """
    if namespace == name:
        return name
    return sayable(f"{namespace}{name}" if namespace.endswith("__") else f"{namespace}__{name}")


def name_of(call: Mapping[str, Any]) -> str:
    """The one name of the tool that an item calls."""
    name, namespace = call.get("name"), call.get("namespace")
    own = name if isinstance(name, str) else ""
    return joined(namespace, own) if isinstance(namespace, str) and namespace else own


def known_early(item: Mapping[str, Any]) -> tuple[str, ...]:
    """Members of an item that matter from its begin on: of a tool in a namespace both of its names."""
    return ("id", "namespace", "name") if item.get("namespace") else ("id",)


def is_namespace(tool: Reader) -> bool:
    """Whether a tool is one whose tools can be told apart: those that a caller runs, each an object with its type."""
    inner = tool.peek("tools")
    return (
        tool.peek("type") == "namespace"
        and isinstance(inner, list)
        and bool(inner)
        and all(isinstance(one, dict) and one.get("type") in ("function", "custom") for one in inner)
    )


def tools_of(tool: Reader, decode: Callable[[Reader], Tool | ProviderTool]) -> list[Tool | ProviderTool]:
    """The tools of a namespace; `decode` reads one. What the namespace says of itself is said by the first, too.

    Raises: InvalidRequest, naming the place.
    """
    tool.take("type")
    namespace, said = tool.text("name", required=True), tool.text("description")
    inner = [decode(one) for one in tool.objects("tools")]
    container = {"name": namespace, **({"description": said} if said is not None else {}), **tool.rest()}
    tools: list[Tool | ProviderTool] = []
    for index, one in enumerate(inner):
        assert isinstance(one, Tool)  # is_namespace: functions and custom tools
        member: dict[str, Any] = {"name": one.name}
        if one.description is not None:
            member["description"] = one.description
        own = {**kept(one.provider_metadata, DIALECT), IN_NAMESPACE: {"namespace": container, "member": member}}
        description = "\n\n".join(filter(None, (said, one.description))) if index == 0 else one.description
        tools.append(
            msgspec.structs.replace(
                one,
                name=joined(namespace, one.name),
                description=description or None,
                provider_metadata=keep(DIALECT, own),
            )
        )
    return tools


def grouped_tools(tools: Iterable[Written]) -> list[Written]:
    """Tools as this dialect writes them: those of one namespace together again, where its first stood."""
    written: list[Written] = []
    containers: dict[str, dict[str, Any]] = {}
    for tool in tools:
        if not isinstance(tool, dict) or IN_NAMESPACE not in tool:
            written.append(tool)
            continue
        place = tool.pop(IN_NAMESPACE)
        tool.pop("description", None)
        name = place["namespace"]["name"]
        if name not in containers:
            containers[name] = {"type": "namespace", **place["namespace"], "tools": []}
            written.append(containers[name])
        containers[name]["tools"].append({**tool, **place["member"]})
    return written


def call_members(call: ToolCall, request: CompletionRequest) -> dict[str, Any] | None:
    """What an answer's item says in place of the joined name; None where the call's tool is in no namespace."""
    for tool in request.tools:
        if isinstance(tool, Tool) and tool.name == call.name and tool.provider_metadata is not None:
            place = kept(tool.provider_metadata, DIALECT).get(IN_NAMESPACE)
            if place is not None:
                return {"namespace": place["namespace"]["name"], "name": place["member"]["name"]}
    return None


def placed(part: Part, request: CompletionRequest) -> Part:
    """A call of a tool in a namespace, by whichever service it was made, as this dialect says it."""
    if not isinstance(part, ToolCall):
        return part
    own = kept(part.provider_metadata, DIALECT)
    item = own.get(ITEM)
    members = call_members(part, request)
    if members is None or (isinstance(item, dict) and "namespace" in item):
        return part
    own[ITEM] = {**(item if isinstance(item, dict) else {}), **members}
    metadata = {**(part.provider_metadata or {}), **(keep(DIALECT, own) or {})}
    return msgspec.structs.replace(part, provider_metadata=metadata)
