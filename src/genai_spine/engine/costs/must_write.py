"""What cannot be written down is not sent: by `ledger.on_failure = "refuse"`, and where a hard budget concerns it.

A hard budget is read from the ledger as a process starts: what was spent and never written down would be spent again.

The journal is the one place that every call goes to first; where it cannot be written (the disk is full, the folder is
gone), entries are kept in memory, and would be lost with the process. Whoever may not have that is refused with 503
until the ledger's own thread has written what is kept. Calls that are under way by then are answered: of them it is
written what they may have cost at most, as far as a budget asked for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from genai_spine.engine.attempt import Attempt
from genai_spine.engine.costs.spending import subject_of
from genai_spine.ledger.writer import Ledger
from genai_spine.model.errors import ErrorType, Fault, SpineError
from genai_spine.policy.budget import Budget, Subject
from genai_spine.policy.route import Choice
from genai_spine.settings import Settings

if TYPE_CHECKING:
    from genai_spine.engine.record import CallRecord

RETRY_AFTER_S = 5.0


class LedgerUnwritable(SpineError):
    """The call was not sent, since it could not be written down."""

    type = ErrorType.NETWORK_ERROR
    fault: Fault = "operator"
    status_code = 503
    code = "ledger_unwritable"
    retry_after_s = RETRY_AFTER_S

    def __init__(self) -> None:
        super().__init__(
            "this call cannot be written down now, and is not sent without: ledger.on_failure, or a hard budget"
        )


class MustWrite:
    """For whom the ledger has to be written. Both checks raise LedgerUnwritable."""

    def __init__(self, ledger: Ledger, settings: Settings, budgets: Sequence[Budget]) -> None:
        self._ledger = ledger
        self._hard = [budget for budget in budgets if budget.is_hard and budget.is_limited]
        self._refuses = settings.ledger.on_failure == "refuse"
        self._by_key = {
            name: key.on_ledger_failure == "refuse"
            for name, key in settings.server.keys.items()
            if key.on_ledger_failure is not None
        }

    @classmethod
    def of(cls, ledger: Ledger | None, settings: Settings, budgets: Sequence[Budget]) -> MustWrite | None:
        """None where nobody is refused."""
        if ledger is None:
            return None
        found = cls(ledger, settings, budgets)
        return found if found._refuses or any(found._by_key.values()) or found._hard else None

    @property
    def refuses_all(self) -> bool:
        """Whether who has no say of its own is refused, whatever it asks for."""
        return self._refuses or self._is_limited(_NOBODY)

    def refuses(self, subject: Subject) -> bool:
        """By its key's own say, or what is said for all, or because a hard budget concerns it."""
        own = self._by_key.get(subject.key) if subject.key is not None else None
        return (self._refuses or self._is_limited(subject)) if own is None else own

    def _is_limited(self, subject: Subject) -> bool:
        return any(True for budget in self._hard for _ in budget.whose(subject))

    def check(self, choice: Choice, record: CallRecord) -> None:
        """Before an attempt is looked at: whether it could be written down, as far as is known."""
        if self._ledger.held and record.is_accounted and self.refuses(subject_of(choice, record)):
            raise LedgerUnwritable

    def check_begun(self, attempt: Attempt, record: CallRecord) -> None:
        """Before an attempt is sent: whether its beginning is written down."""
        if attempt.account is None or attempt.account.is_written:
            return
        if self.refuses(subject_of(attempt.target.choice, record)):
            raise LedgerUnwritable


_NOBODY = Subject("", "")
