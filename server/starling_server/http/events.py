"""`/v1/events`: counts of shown, accepted and dismissed suggestions. No text is accepted or stored."""

from typing import Literal

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from starling_server.http.complete import Api
from starling_server.http.middleware.metrics import Metrics
from starling_server.http.models import resolve
from starling_server.models.adapters import BARE

Kind = Literal["shown", "accepted", "dismissed"]


class Event(BaseModel):
    """Something happened to suggestions; no field can hold code."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event: Kind
    adapter: str | None = Field(
        default=None, max_length=500, description="Whose suggestion it was; as `adapter` in `/complete`."
    )
    count: int = Field(default=1, ge=1, le=1000, description="How many times.")


class Events:
    """The route's method; the counts are with all others at `/metrics`."""

    def __init__(self, api: Api, metrics: Metrics) -> None:
        self._api, self._metrics = api, metrics

    async def count(self, body: Event) -> Response:
        """Count what became of suggestions: shown, accepted, dismissed."""
        adapter = await resolve(self._api.loaded(), body.adapter)
        self._metrics.events.labels(adapter or BARE, body.event).inc(body.count)
        return Response(status_code=204)
