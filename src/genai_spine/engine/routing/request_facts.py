"""What routing needs to know of one request, each thing found out when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import CompletionRequest
from genai_spine.policy import tokens
from genai_spine.policy.conditions import Traits, metadata_of, traits_of
from genai_spine.policy.needs import MARKS, may_need, media_count, most_tokens, needs_of, text_length, texts_of
from genai_spine.policy.route import Wanted
from genai_spine.policy.strategy import ANSWER_TOKENS

_SAMPLED = 12_000
"""Characters beyond which samples are measured in place of the whole."""
_PIECES, _PIECE = 16, 500
_MEDIA_TOKENS = 1000
_TOOL_TOKENS = 300
"""What an image, or a tool, is taken for in a long request."""
BYTES_PER_TOKEN = 2
"""No prose, code or JSON has fewer; what has is not worth an estimate for every other request."""
_UNREAD = CompletionRequest(messages=())


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a request outside of what it asks."""

    session: str | None = None
    """Whose requests are best kept with one target."""
    tags: tuple[str, ...] = ()


_NOTHING = About()


def wanted_of(request: CompletionRequest) -> Wanted:
    """Whom it asks for."""
    return Wanted(
        model=request.model,
        provider=request.provider,
        hint=request.provider_hint,
        fallbacks=request.fallbacks,
    )


class RequestFacts:
    """One request, looked at as little as can be. `ask` gives it through the model, which may cost a decoding.

    A request that cannot be read needs nothing that is known: whether it can be answered is for those to say
    who get its bytes.
    """

    __slots__ = (
        "_ask", "_bound", "_by_family", "_is_plain", "_may_need", "_needs", "_request", "_traits", "about", "body",
        "members",
    )  # fmt: skip

    def __init__(
        self,
        ask: Callable[[], CompletionRequest],
        body: bytes | None = None,
        members: Collection[str] = (),
        about: About | None = None,
        is_plain: Callable[[], bool] | None = None,
    ) -> None:
        """`is_plain`, a longer look at the body, tells whether it is words and functions alone."""
        self._ask = ask
        self._is_plain = is_plain
        self.body = body
        self.members = members
        self.about = about or _NOTHING
        self._request: CompletionRequest | None = None
        self._needs: frozenset[str] | None = None
        self._traits: Traits | None = None
        self._bound: int | None = None
        self._may_need: dict[str, bool] | None = None
        self._by_family: dict[str, int] | None = None

    @property
    def request(self) -> CompletionRequest:
        if self._request is None:
            try:
                self._request = self._ask()
            except InvalidRequest:
                self._request = _UNREAD
        return self._request

    def needed(self, names: frozenset[str]) -> frozenset[str]:
        """Those of the names that it needs; of most bodies a look can tell that there are none."""
        if self.body is not None:
            if self._may_need is None:
                self._may_need = {}
            names = frozenset([name for name in names if self._looks_like(name, self._may_need, self.body)])
        return names & self.needs if names else names

    def _looks_like(self, name: str, seen: dict[str, bool], body: bytes) -> bool:
        found = seen.get(name)
        if found is None:
            found = may_need(name, body, self.members)
            if found and name in MARKS and self._is_plain is not None:
                found = not self._is_plain()
            seen[name] = found
        return found

    @property
    def needs(self) -> frozenset[str]:
        if self._needs is None:
            self._needs = needs_of(self.request)
        return self._needs

    @property
    def cap(self) -> int | None:
        """The request's own `context_window`, which programs can give, and no dialect has."""
        return self.request.context_window if self.body is None else None

    @property
    def answer_tokens(self) -> int:
        """How long its answer is taken to be."""
        return min(self.request.max_tokens or ANSWER_TOKENS, ANSWER_TOKENS)

    def fits(self, window: int) -> bool:
        """Whether it fits into a window beyond doubt; for most requests that is seen without an estimate."""
        if self._bound is None:
            self._bound = len(self.body) if self.body is not None else most_tokens(self.request)
        return self._bound <= window * BYTES_PER_TOKEN

    def tokens(self, model: str | None = None) -> int:
        """Input tokens by estimate, as models of this one's family count."""
        family = tokens.family_of(model)
        if self._by_family is None:
            self._by_family = {}
        if family not in self._by_family:
            self._by_family[family] = self._estimate(model)
        return self._by_family[family]

    def _estimate(self, model: str | None) -> int:
        request = self.request
        if request is _UNREAD:
            return len(self.body or b"") // 4
        return _estimate(request, model)

    def traits(self) -> Traits:
        if self._traits is None:
            self._traits = traits_of(metadata_of(self.request), self.about.tags)
        return self._traits


def input_tokens(request: CompletionRequest, model: str | None) -> int:
    """Input tokens by estimate; of a long request by samples of it."""
    return _estimate(request, model)


def expected(request: CompletionRequest, model: str | None) -> int:
    """Tokens that a call may use, in and out, by estimate: what a limit of tokens sets aside for it."""
    answer = min(request.max_tokens, ANSWER_TOKENS) if request.max_tokens is not None else ANSWER_TOKENS
    return _estimate(request, model) + answer


def _estimate(request: CompletionRequest, model: str | None) -> int:
    """The estimate; of a long request by samples of its text, since a decision must not hold up the event loop."""
    length = text_length(request)
    if length <= _SAMPLED:
        return int(tokens.estimate(request, model))
    sample = _sample(request, length)
    per_character = int(tokens.estimate(CompletionRequest(messages=sample), model)) / len(sample)
    return int(per_character * length) + _MEDIA_TOKENS * media_count(request) + _TOOL_TOKENS * len(request.tools)


def _sample(request: CompletionRequest, length: int) -> str:
    """Pieces from all over its texts."""
    pieces, step, at = [], length // _PIECES, 0
    for text in texts_of(request):
        while at < len(text):
            pieces.append(text[at : at + _PIECE])
            at += step
        at -= len(text)
    return "\n".join(pieces)
