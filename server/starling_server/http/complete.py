"""`/complete`: Starling's own format."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import Request, Response
from fastapi.sse import format_sse_event

from starling_server.completion.resolved_request import ResolvedRequest
from starling_server.completion.service import Service
from starling_server.errors import NotReady, RequestError
from starling_server.http.middleware.activity import Activity
from starling_server.http.middleware.problems import document
from starling_server.http.responses import Streamed, answer, streamed
from starling_server.owners import Owner
from starling_server.schema import CompleteRequest, TextEvent


class Api:
    """The route's methods, over a service that may still be loading."""

    def __init__(self) -> None:
        self.service: Service | None = None
        """None while it is being loaded, at first or again."""
        self.activity = Activity()

    async def complete(self, body: CompleteRequest, request: Request) -> Response:
        """Suggest what comes between `prefix` and `suffix`.

        With `stream`, server-sent events: `text` events with a `delta` of the first choice, then one `done` event with
        the whole answer, or an `error` event with a problem document.
        """
        service, owner = self.loaded(), Owner(request.state.client)
        await request.state.place.cost(body.n)
        if body.stream:
            ask = await service.resolve(body, owner)
            service.check()
            return Streamed(_events(service, ask), ask.seconds)
        return await answer(request, service.complete(body, owner=owner))

    def loaded(self) -> Service:
        """The service; raises NotReady before it is loaded."""
        if self.service is None:
            raise NotReady("The model is still loading: try again in some seconds.")
        return self.service


async def _events(service: Service, ask: ResolvedRequest) -> AsyncGenerator[bytes]:
    """Server-sent events of one response; a disconnect stops the model."""
    try:
        async with aclosing(streamed(lambda tell: service.answer(ask, tell))) as items:
            async for item in items:
                if isinstance(item, str):
                    yield format_sse_event(event="text", data_str=TextEvent(delta=item).model_dump_json())
                else:
                    yield format_sse_event(event="done", data_str=item.model_dump_json())
    except RequestError as error:
        yield format_sse_event(event="error", data_str=document(error).model_dump_json())
