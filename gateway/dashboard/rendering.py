"""Makes pages of templates: the language, the theme and the person are the same on each."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from gateway.dashboard import words

TEMPLATES = Path(__file__).parent / "templates"
NAVIGATION = (
    ("/", "jobs"),
    ("/submit", "submit"),
    ("/review", "review"),
    ("/map", "map"),
    ("/tasks", "tasks"),
    ("/pipelines", "pipelines"),
    ("/instruments", "instruments"),
    ("/system", "system"),
)
SAFE = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
NOTHING = "\N{EN DASH}"
LANGUAGE, THEME = "cytobus_language", "cytobus_theme"
THEMES = ("auto", "light", "dark")


@dataclass(frozen=True)
class Person:
    """Who looks at a page. ``check`` is what changes must bear; nobody has a name where nobody has to say one."""

    name: str = ""
    role: str = "admin"
    check: str = ""

    @property
    def may_operate(self) -> bool:
        return self.role in ("operator", "admin")

    @property
    def may_administer(self) -> bool:
        return self.role == "admin"


@lru_cache
def environment() -> jinja2.Environment:
    """A name that a template does not know is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"moment": moment, "size": size, "seconds": seconds}
    return made


def language_of(request: Request) -> str:
    """The language in which a page is."""
    return words.chosen(request.cookies.get(LANGUAGE, ""), request.headers.get("accept-language", ""))


def page(
    request: Request, template: str, person: Person, *, status: int = 200, at: str = "", **shown: Any
) -> HTMLResponse:
    """A whole page. ``at``: the key of its entry in the navigation."""
    language, theme = language_of(request), request.cookies.get(THEME, "auto")
    context: dict[str, Any] = {
        "t": words.speaker(language),
        "language": language,
        "languages": {name: said["language"] for name, said in words.dictionaries().items()},
        "theme": theme if theme in THEMES else "auto",
        "themes": THEMES,
        "navigation": NAVIGATION,
        "at": at,
        "person": person,
    }
    text = environment().get_template(template).render(context | shown)
    return HTMLResponse(text, status, SAFE)


def part(template: str, language: str, **shown: Any) -> str:
    """A piece of a page."""
    return environment().get_template(template).render({"t": words.speaker(language), "language": language, **shown})


def moment(at: int) -> Markup:
    """A time (ns since the epoch): UTC here, the reader's own once a script has seen it."""
    if not 0 < at < 2**62:
        return Markup(NOTHING)
    when = datetime.fromtimestamp(at / 1e9, UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        when.isoformat(timespec="milliseconds"), when.strftime("%Y-%m-%d %H:%M:%S UTC")
    )


def size(count: int | None) -> str:
    """Bytes, as people say them."""
    if count is None:
        return NOTHING
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def seconds(nanoseconds: float) -> str:
    """A length of time, as people say it."""
    value = nanoseconds / 1e9
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.0f} h" if value < 172_800 else f"{value / 86_400:.0f} d"


def describe_parameters(parameters: Mapping[str, str] | None) -> str:
    """Parameters in one line."""
    return ", ".join(f"{name} = {value}" for name, value in (parameters or {}).items())
