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
    "due_at": "due_at",
    "lease_over_at": "lease_over_at",
    "wants_preview": "wants_preview",
    "kept_until": "kept_until",
    "verification": "verification",
    "after": "after",
    "limit": "limit",
}


NUMBERS = ("updated_since", "due_at", "lease_over_at", "kept_until", "verification", "after")


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
    return query.model_copy(update={"limit": max(1, min(query.limit, MOST))})


def params_of(query: JobQuery) -> dict[str, str]:
    """The query string of a query; the inverse of ``query_of``."""
    params = {name: str(value) for name, field in FIELDS.items() if (value := getattr(query, field)) is not None}
    if query.states:
        params["state"] = ",".join(query.states)
    return params | {"order": "desc" if query.newest_first else "asc"}
