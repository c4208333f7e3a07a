"""The tree of errors, between processes and copies."""

from __future__ import annotations

import copy
import pickle

import pytest

from genai_spine.model import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SpineError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_comes_whole_out_of_another_process(kind: type[errors.SpineError]) -> None:
    error = kind("spent", budget="daily") if kind is errors.BudgetExceeded else kind("spent")  # type: ignore[call-arg]
    error.retry_after_s = 7
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(copied) is kind
        assert str(copied) == "spent"
        assert vars(copied) == vars(error)
