"""What one download asks the directory, one question after the other: the latest counts.

A question is out of date as soon as there is news to tell. It is not called back then, for that would end its
connection: the directory answers it when it has the next one. What it comes to is of no interest, since the next one
gets the same.
"""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from envproxy.swarm.messages import Given

MOST_OVERTAKEN = 4  # that are not answered yet: a directory that is slow is asked no more than that


class Questions:
    """See the module."""

    def __init__(self) -> None:
        self._overtaken: set[asyncio.Task[Given]] = set()

    async def ask(
        self, asking: Coroutine[None, None, Given], news: asyncio.Event, *, is_patient: bool
    ) -> Given | None:
        """The answer; None if there is news before, unless the question is patient. Raises what `asking` does."""
        question, heard = asyncio.create_task(asking), asyncio.create_task(news.wait())
        waits_for_news = not is_patient and len(self._overtaken) < MOST_OVERTAKEN
        try:
            await asyncio.wait({question, heard} if waits_for_news else {question}, return_when=FIRST_COMPLETED)
        finally:
            heard.cancel()
            if not question.done():
                self._overtaken.add(question)
                question.add_done_callback(self._answered_late)
        return question.result() if question.done() else None

    async def stop(self) -> None:
        """Call back those that are not answered yet."""
        questions = list(self._overtaken)
        for question in questions:
            question.cancel()
        await asyncio.gather(*questions, return_exceptions=True)

    def _answered_late(self, question: asyncio.Task[Given]) -> None:
        self._overtaken.discard(question)
        if not question.cancelled():
            question.exception()  # seen, and dropped: the next question meets with the same
