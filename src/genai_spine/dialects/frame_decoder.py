"""What all decoders of streams share: an error in the middle of a piece does not take what stood before it along."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy

from genai_spine.model.errors import ProviderError
from genai_spine.model.events import StreamEvent


class FrameDecoder(ABC):
    """`feed` and `close` of a `StreamDecoder`; how frames are read is for the dialect to say."""

    failure: ProviderError | None = None
    """Kept and raised as copies: itself and the frames that it passes would keep each other alive, and the prompt."""

    def feed(self, data: bytes) -> list[StreamEvent]:
        if self.failure is not None:
            raise copy(self.failure)
        events: list[StreamEvent] = []
        try:
            self._read(data, events)
        except ProviderError as error:
            if not events:
                raise
            self.failure = copy(error)
        return events

    def close(self) -> list[StreamEvent]:
        if self.failure is not None:
            raise copy(self.failure)
        events: list[StreamEvent] = []
        self._end_of_body(events)
        return events

    @abstractmethod
    def _read(self, data: bytes, events: list[StreamEvent]) -> None:
        """Add what these bytes say."""

    @abstractmethod
    def _end_of_body(self, events: list[StreamEvent]) -> None:
        """Add what the end of the body says."""
