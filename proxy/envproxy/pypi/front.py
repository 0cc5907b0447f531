"""The shortest way for a warm page: answered before routing and middlewares.

Those cost more than all the rest of such an answer. Nothing is decided here: a page that is fresh and ready in the
wanted form goes out as `PypiRoutes` would send it and is observed like any other; everything else takes the ordinary
way. Only for a proxy whose pages anybody may read.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from envproxy.engine.prebuilt import Prebuilt
from envproxy.middleware import AccessLog
from envproxy.tallies import HttpTallies

from .routes import PypiRoutes

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Front:
    """See the module. `timer` counts seconds."""

    def __init__(
        self,
        pages: PypiRoutes,
        tallies: HttpTallies,
        access: AccessLog | None,
        *,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._pages = pages
        self._tallies = tallies
        self._access = access
        self._timer = timer

    def before(self, runner: web.AppRunner) -> None:
        """Stand before the application of a runner that is set up."""
        assert runner.server is not None, "runner.setup() comes first"
        runner.server.request_handler = self._standing_before(runner.server.request_handler)

    def _standing_before(self, ordinary: Answer) -> Answer:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            began = self._timer()
            response = self._pages.ready_made(request)
            if response is None:
                return await ordinary(request)
            response.when_sent = partial(self._observe, request, response, began)
            return response

        return answer

    def _observe(self, request: web.BaseRequest, response: Prebuilt, began: float) -> None:
        seconds = self._timer() - began
        outcome = f"{response.status // 100}xx" if response.body_length else "aborted"
        self._tallies.add("project", request.method, outcome, seconds, response.content_length)
        if self._access is not None:
            self._access.add(request, response, "project", response.content_length, seconds)
