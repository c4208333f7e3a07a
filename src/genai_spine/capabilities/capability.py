"""What a capability is: a task for a model with a request, a result and steps of its own.

    class Haiku(CapabilityRequest, frozen=True, kw_only=True):
        subject: str

    class Poem(CapabilityResult, frozen=True, kw_only=True):
        lines: tuple[str, ...]

    async def write(ask: Ask, request: Haiku) -> Poem:
        answer = await ask(f"Write a haiku about {request.subject}.")
        return Poem(lines=tuple(answer.content.splitlines()), **ask.bill())

    haiku = Capability("haiku", Haiku, Poem, write)

That is one whole. `await haiku(manager, subject="rain")` calls it, with the request's members as typed
keywords; the gateway serves it as `POST /v1/haiku`. How it is found is in registry.py. Must not know: HTTP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, ParamSpec, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from genai_spine.capabilities.ask import Ask
from genai_spine.engine.manager import ProviderManager
from genai_spine.engine.record import CallRecord
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.response import Notice, TokenUsage
from genai_spine.settings.explain import did_you_mean
from genai_spine.wire import json

Instructions = Annotated[str, Meta(max_length=10_000)]
"""A caller's own words for a prompt."""


class CapabilityRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every capability can be told: whom to ask."""

    model: Annotated[str | None, Meta(description="`provider/model`, a model or a route.")] = None
    provider: Annotated[str | None, Meta(description="Ask this provider only.")] = None
    provider_hint: Annotated[
        str | None, Meta(description="`local_preferred`, `cloud_preferred`, `best_quality` or `cheapest`.")
    ] = None
    fallbacks: Annotated[Sequence[str], Meta(description="Models to ask where the first does not answer.")] = ()
    cost_limit: Annotated[Decimal | None, Meta(description="USD that all calls together may cost.")] = None


class TextRequest(CapabilityRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """About a text, which is material and never instructions."""

    content: Annotated[str, Meta(description="The text.")]

    def __post_init__(self) -> None:
        if not self.content or self.content.isspace():
            raise InvalidRequest("content: empty; there is nothing to work on", param="content")


class CapabilityResult(msgspec.Struct, frozen=True, kw_only=True):
    """What every capability tells beside its result: `Ask.bill` has it.

    `provider` and `model` gave the last answer, `usage` is the sum of all `calls`. `cost_usd` is None where the
    price of any of them is unknown; a notice says of which.
    """

    provider: str | None = None
    model: str | None = None
    calls: int = 0
    usage: TokenUsage | None = None
    cost_usd: Decimal | None = None
    notices: tuple[Notice, ...] = ()


P = ParamSpec("P")
Q = TypeVar("Q", bound=CapabilityRequest)
R = TypeVar("R", bound=CapabilityResult)


class Capability(Generic[P, Q, R]):
    """A name, a request, a result and the steps from one to the other."""

    def __init__(
        self, name: str, request: Callable[P, Q], result: type[R], steps: Callable[[Ask, Q], Awaitable[R]]
    ) -> None:
        """`request` is a class, taken as what makes requests, so that type checkers know the keywords of a call."""
        self.name = name
        self.request = cast("type[Q]", request)
        self.result = result
        self._steps = steps
        self._decoder = msgspec.json.Decoder(self.request)

    def __repr__(self) -> str:
        return f"Capability({self.name!r})"

    @property
    def description(self) -> str:
        """The first line of the request's docstring."""
        return (self.request.__doc__ or "").strip().partition("\n")[0]

    async def __call__(self, manager: ProviderManager, *args: P.args, **members: P.kwargs) -> R:
        """The result. Raises: SpineError; InvalidRequest names the member that is wrong."""
        if args:
            raise TypeError(f"{self.name} takes its request's members as keywords")
        return await self.answer(manager, self.request_of(members))

    async def answer(self, manager: ProviderManager, request: Q, record: CallRecord | None = None) -> R:
        """The same for a request in hand. It is one call, of which `record` tells: its attempts are those of all the
        calls that it makes. Raises: SpineError."""
        whole = CallRecord() if record is None else record
        result: R | None = None
        try:
            result = await self._steps(Ask(manager, request, whole), request)
            return result
        except Exception:
            whole.outcome = "failed"
            raise
        except BaseException:
            whole.outcome = "left"
            raise
        finally:
            manager.traffic.close(whole)
            if record is None and manager.content is not None:
                manager.content.keep_asked(whole, request, result)

    def request_of(self, members: Mapping[str, Any]) -> Q:
        """Raises: InvalidRequest, with the member that is wrong as its `param`."""
        self._refuse_unknown(members)
        with _refusing(self.request):
            return msgspec.convert(dict(members), self.request)

    def decode_request(self, body: bytes) -> Q:
        """Raises: InvalidRequest."""
        self._refuse_unknown(json.top_level(body))
        with _refusing(self.request):
            return self._decoder.decode(body)

    def schema(self) -> dict[str, Any]:
        """As the gateway lists it: what it takes and gives, as JSON Schemas."""
        return {
            "id": self.name,
            "object": "capability",
            "description": self.description,
            "request": msgspec.json.schema(self.request),
            "result": msgspec.json.schema(self.result),
        }

    def _refuse_unknown(self, members: Mapping[str, Any]) -> None:
        known = self.request.__struct_encode_fields__
        for name in members:
            if name not in known:
                near = did_you_mean(name, known) or f"; {self.name} takes {', '.join(known)}"
                shown = name[:100]
                raise InvalidRequest(f'{self.name}: unknown field "{shown}"{near}', param=shown)


@contextmanager
def _refusing(request: type[CapabilityRequest]) -> Iterator[None]:
    """What msgspec says of a value as an InvalidRequest; what a request's own `__post_init__` raises as it is."""
    try:
        yield
    except msgspec.ValidationError as error:
        if isinstance(own := error.__cause__, InvalidRequest):
            raise own from None
        reason, path = json.explain(error, b"")
        if reason.startswith("invalid enum value"):
            words = _words(get_type_hints(request).get(path))
            reason = f"expected one of {', '.join(words)}"
        raise InvalidRequest(f"{path or 'request'}: {reason}", param=path or None) from None


def _words(hint: Any) -> list[str]:
    """The words that a member may be, in quotes, and `a number` where it may be one."""
    if get_origin(hint) is Literal:
        return [f'"{word}"' for word in get_args(hint)]
    if hint is int:
        return ["a number"]
    return [word for member in get_args(hint) for word in _words(member)]
