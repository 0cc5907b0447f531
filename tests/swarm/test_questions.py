"""Questions of one download: the latest counts, and no connection is given up for it."""

from __future__ import annotations

import asyncio

import pytest

from envagent.peers.questions import MOST_OVERTAKEN, Questions
from envproxy.errors import UpstreamError
from envproxy.swarm.messages import Given


class Directory:
    """Answers when it is told to; `called_back` are the questions that were cancelled."""

    def __init__(self) -> None:
        self.called_back: list[str] = []
        self.answers: dict[str, asyncio.Future[Given]] = {}

    async def want(self, name: str) -> Given:
        self.answers[name] = asyncio.get_running_loop().create_future()
        try:
            return await self.answers[name]
        except asyncio.CancelledError:
            self.called_back.append(name)
            raise


async def turns() -> None:
    """Let everybody do what can be done now."""
    for _ in range(10):
        await asyncio.sleep(0)


async def overtaken(questions: Questions, directory: Directory, name: str) -> None:
    """Ask a question that is overtaken at once."""
    news = asyncio.Event()
    asking = asyncio.create_task(questions.ask(directory.want(name), news, is_patient=False))
    await turns()
    news.set()
    assert await asking is None


async def test_news_ends_the_wait_for_an_answer_but_not_the_question():
    questions, directory = Questions(), Directory()

    await overtaken(questions, directory, "first")

    assert directory.called_back == []
    directory.answers["first"].set_result(Given())
    await turns()


async def test_a_patient_question_is_not_overtaken():
    questions, directory, news = Questions(), Directory(), asyncio.Event()
    news.set()
    asking = asyncio.create_task(questions.ask(directory.want("only"), news, is_patient=True))
    await turns()

    directory.answers["only"].set_result(Given(size=5))

    assert await asking == Given(size=5)


async def test_a_directory_that_answers_none_is_asked_no_more_than_a_few_at_once():
    questions, directory, news = Questions(), Directory(), asyncio.Event()
    for number in range(MOST_OVERTAKEN):
        await overtaken(questions, directory, f"early-{number}")
    news.set()

    last = asyncio.create_task(questions.ask(directory.want("last"), news, is_patient=False))
    await turns()

    assert not last.done()
    directory.answers["last"].set_result(Given())
    assert await last == Given()
    await questions.stop()


async def test_what_goes_wrong_with_an_overtaken_question_harms_nobody():
    questions, directory = Questions(), Directory()
    await overtaken(questions, directory, "first")

    directory.answers["first"].set_exception(UpstreamError("the directory is gone", cause="connect"))
    await turns()

    failing = asyncio.create_task(questions.ask(directory.want("second"), asyncio.Event(), is_patient=False))
    await turns()
    directory.answers["second"].set_exception(UpstreamError("the directory is gone", cause="connect"))
    with pytest.raises(UpstreamError):
        await failing


async def test_all_that_are_not_answered_are_called_back_at_the_end():
    questions, directory = Questions(), Directory()
    await overtaken(questions, directory, "first")
    asking = asyncio.create_task(questions.ask(directory.want("second"), asyncio.Event(), is_patient=False))
    await turns()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    await questions.stop()

    assert sorted(directory.called_back) == ["first", "second"]
