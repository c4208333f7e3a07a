"""`ledger.on_failure = "refuse"`: what cannot be written down is not sent.

The journal is the one place that every call goes to first; where it cannot be written (the disk is full, the folder is
gone), entries are kept in memory, and would be lost with the process. Whoever may not have that is refused with 503
until the ledger's own thread has written what is kept. Calls that are under way by then are answered: of them it is
written what they may have cost at most.
"""

from __future__ import annotations

from genai_spine.engine.attempt import Attempt
from genai_spine.ledger.writer import Ledger
from genai_spine.model.errors import ErrorType, Fault, SpineError
from genai_spine.settings import Settings

RETRY_AFTER_S = 5.0


class LedgerUnwritable(SpineError):
    """The call was not sent, since it could not be written down."""

    type = ErrorType.NETWORK_ERROR
    fault: Fault = "operator"
    status_code = 503
    code = "ledger_unwritable"
    retry_after_s = RETRY_AFTER_S

    def __init__(self) -> None:
        super().__init__("this call cannot be written down now, and is not sent without: ledger.on_failure")


class MustWrite:
    """For whom the ledger has to be written. Both checks raise LedgerUnwritable."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._refuses = settings.ledger.on_failure == "refuse"
        self._by_key = {
            name: key.on_ledger_failure == "refuse"
            for name, key in settings.server.keys.items()
            if key.on_ledger_failure is not None
        }

    @classmethod
    def of(cls, ledger: Ledger | None, settings: Settings) -> MustWrite | None:
        """None where nobody is refused."""
        if ledger is None:
            return None
        found = cls(ledger, settings)
        return found if found._refuses or any(found._by_key.values()) else None

    def refuses(self, caller: str | None) -> bool:
        return self._by_key.get(caller, self._refuses) if caller is not None else self._refuses

    def check(self, caller: str | None) -> None:
        """Before a call is looked at: whether it could be written down, as far as is known."""
        if self._ledger.held and self.refuses(caller):
            raise LedgerUnwritable

    def check_begun(self, caller: str | None, attempt: Attempt) -> None:
        """Before an attempt is sent: whether its beginning is written down."""
        if attempt.account is not None and not attempt.account.is_written and self.refuses(caller):
            raise LedgerUnwritable
