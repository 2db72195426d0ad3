"""Around every page: who looks at it, and what is shown when the gateway says no or nothing."""

from collections.abc import Awaitable, Callable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from contracts.errors import AppError, Away, Unauthorized, Unavailable
from gateway.dashboard.rendering import Person, page
from gateway.dashboard.upstream import Upstream

Shown = Callable[[Request, Person], Awaitable[Response]]
Answer = Callable[[Request], Awaitable[Response]]


async def person_of(upstream: Upstream, request: Request) -> Person:
    """Who looks. Raises ``Unauthorized`` where nobody is known."""
    told = await upstream.get(request, "job-repository", "/api/v1/whoami")
    return Person(str(told["Name"]), str(told["Role"]), str(told["Check"]))


def asked(upstream: Upstream, show: Shown) -> Answer:
    """A route's endpoint: a page that says what is the matter is a page, too."""

    async def answer(request: Request) -> Response:
        person = Person()
        try:
            person = await person_of(upstream, request)
            return await show(request, person)
        except Unauthorized:
            return RedirectResponse(f"/sign-in?next={quote(request.url.path)}", 303)
        except (Away, Unavailable) as error:
            return page(request, "away.html", person, status=503, why=str(error))
        except AppError as error:
            return page(request, "refused.html", person, status=error.status, why=str(error))

    return answer
