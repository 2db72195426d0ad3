"""What a listing's query string asks for."""

from collections.abc import Mapping

from pydantic import ValidationError

from contracts.errors import BadRequest
from contracts.ports import JobQuery

MOST = 1000
"""Jobs on a page at most; a repository of a million is never returned whole."""

FIELDS = {
    "owner": "owner",
    "status": "status",
    "hostname": "origin_host",
    "pipeline": "pipeline",
    "task": "task",
    "batch": "batch",
    "name": "name_contains",
    "updated_since": "updated_since",
    "updated_until": "updated_until",
    "due_at": "due_at",
    "lease_over_at": "lease_over_at",
    "wants_preview": "wants_preview",
    "kept_until": "kept_until",
    "verification": "verification",
    "sort": "sort",
    "after": "after",
    "mark": "mark",
    "limit": "limit",
}


NUMBERS = ("updated_since", "updated_until", "due_at", "lease_over_at", "kept_until", "verification", "after")


def query_of(params: Mapping[str, str]) -> JobQuery:
    """The query. Raises ``BadRequest`` naming a parameter that cannot be read; unknown ones are ignored."""
    fields: dict[str, object] = {field: params[name] for name, field in FIELDS.items() if name in params}
    if params.get("state"):
        fields["states"] = [word.strip().lower() for word in params["state"].split(",")]
    if "order" in params:
        if params["order"] not in ("asc", "desc"):
            raise BadRequest(f"order is {params['order']!r}; it must be asc (oldest first) or desc")
        fields["newest_first"] = params["order"] == "desc"
    try:
        query = JobQuery.model_validate(fields, strict=False)
        for name in NUMBERS:
            if abs(getattr(query, name) or 0) >= 2**63:
                raise BadRequest(f"query parameter {name}: it is too large")
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise BadRequest(f"query parameter {problem['loc'][0]}: {problem['msg'].lower()}") from None
    _check_cursor(query)
    return query.model_copy(update={"limit": max(1, min(query.limit, MOST))})


def params_of(query: JobQuery) -> dict[str, str]:
    """The query string of a query; the inverse of ``query_of``."""
    params = {name: str(value) for name, field in FIELDS.items() if (value := getattr(query, field)) is not None}
    if query.states:
        params["state"] = ",".join(query.states)
    if query.sort == "registered":
        del params["sort"]
    return params | {"order": "desc" if query.newest_first else "asc"}


def _check_cursor(query: JobQuery) -> None:
    """Raises ``BadRequest`` for one that is no page's of a listing sorted like that."""
    if query.sort == "registered" or query.after is None:
        return
    if query.mark is None:
        raise BadRequest(f"mark is missing: with sort={query.sort} it belongs to after; follow the last page's Link")
    whole = query.mark.isascii() and query.mark.isdigit() and len(query.mark) < 20 and int(query.mark) < 2**63
    if query.sort == "changed" and not whole:
        raise BadRequest(f"mark is {query.mark[:40]!r}; with sort=changed it must be a whole number below 2^63")
