"""The page on which all cells are seen as a map."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.dashboard.asking import asked
from gateway.dashboard.rendering import Person, language_of, page
from gateway.dashboard.upstream import Upstream
from gateway.dashboard.words import speaker

SAID = (
    *("loading", "empty", "none", "shown", "selected", "of-map", "named", "gated", "deleted", "sure", "gate-needs"),
    *(
        "others",
        "job",
        "gallery-cell",
        "group-line",
        "gate-line",
        "accept",
        "reject",
        "show",
        "delete",
        "table",
        "no-webgl",
    ),
    *("median", "troubles", "missing-crops", "similar-to", "unclassified", "drift"),
)
"""What the page's script says."""


class MapPages:
    """``/map``: the script asks the cell index for all that it shows."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def routes(self) -> list[BaseRoute]:
        return [Route("/map", asked(self._upstream, self.show), methods=["GET"])]

    async def show(self, request: Request, person: Person) -> Response:
        say = speaker(language_of(request))
        return page(request, "map.html", person, at="map", said={name: say(f"map.{name}") for name in SAID})
