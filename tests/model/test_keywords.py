"""Keywords that a request does not have."""

from __future__ import annotations

from typing import Any

import pytest

from genai_spine.model.embedding import EmbeddingRequest
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.keywords import _CALLED_HERE, request_of
from genai_spine.model.request import CompletionRequest
from genai_spine.model.rerank import RerankRequest


@pytest.mark.parametrize(
    ("kind", "members", "told"),
    [
        (CompletionRequest, {"messages": "x", "modle": "m"}, 'modle: unknown argument; did you mean "model"?'),
        (CompletionRequest, {"messages": "x", "zzz": 1}, "zzz: unknown argument"),
        (
            CompletionRequest,
            {"messages": "x", "response_format": {}},
            'response_format: unknown argument; here that is "output_schema"',
        ),
        (
            CompletionRequest,
            {"messages": "x", "system": "s"},
            'system: unknown argument; here that is a message of role "system"',
        ),
        (CompletionRequest, {"prompt": "x"}, 'prompt: unknown argument; here that is "messages"'),
        (CompletionRequest, {"model": "m"}, "messages: missing"),
        (EmbeddingRequest, {"texts": ["x"]}, 'texts: unknown argument; here that is "input"'),
        (EmbeddingRequest, {"input": "x", "dimension": 3}, 'dimension: unknown argument; did you mean "dimensions"?'),
        (EmbeddingRequest, {"input": "x", "system": "s"}, "system: unknown argument"),
        (RerankRequest, {"query": "x"}, "documents: missing"),
    ],
)
def test_a_wrong_keyword_is_named_with_its_mend(kind: Any, members: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        request_of(kind, members)
    assert raised.value.message == told
    assert raised.value.param == told.partition(":")[0]


def test_a_copy_takes_no_wrong_keyword_either() -> None:
    request = CompletionRequest(messages="x")
    assert request_of(CompletionRequest, {"model": "m"}, like=request).model == "m"
    with pytest.raises(InvalidRequest, match=r'^tempreature: unknown argument; did you mean "temperature"\?$'):
        request_of(CompletionRequest, {"tempreature": 1}, like=request)


def test_what_something_is_called_here_is_a_keyword_and_its_other_name_is_none() -> None:
    known = {name for kind in (CompletionRequest, EmbeddingRequest) for name in kind.__struct_fields__}
    assert set(_CALLED_HERE.values()) <= known
    assert not _CALLED_HERE.keys() & set(CompletionRequest.__struct_fields__)
