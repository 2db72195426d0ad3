"""Who may ask what of which service. What is not named here is for administrators."""

import re
from dataclasses import dataclass
from functools import lru_cache

from contracts.identity import PEOPLE, Role

VIEW = frozenset({*PEOPLE})
OPERATE = frozenset({Role.OPERATOR, Role.ADMIN})
ADMINISTER = frozenset({Role.ADMIN})
EDGES = frozenset({Role.EDGE})
PIPELINES = frozenset({Role.PIPELINE})
SAFE = frozenset({"GET", "HEAD"})
HEALTH = ("/api/v1/health", "/api/v1/ready")
"""Strangers learn from these that the service lives, and can work; others, what troubles it."""
ANYBODY = re.compile(
    r"/(static/[^/]+|sign-in|look|favicon\.ico|gateway/job-repository/api/v1/login)|/api/v1/(openapi\.json|login|oidc/login|oidc/callback|authority|enrolments/redeem)|/api/v[23]/ping"
)
"""These tell nothing, or check for themselves."""


@dataclass(frozen=True)
class Rule:
    """Who may use these verbs on paths of this form at this service (empty: at any)."""

    service: str
    verbs: frozenset[str]
    path: re.Pattern[str]
    roles: frozenset[Role]


def _rule(service: str, verbs: str, path: str, roles: frozenset[Role]) -> Rule:
    return Rule(service, frozenset(verbs.split()), re.compile(path, re.DOTALL), roles)


RULES = (
    # the two calls of a pipeline, by the word in its URLs
    _rule("job-repository", "PUT", r"/api/v1/job/pipeline/[^/]+/[^/]+", PIPELINES | ADMINISTER),
    _rule("task-launcher", "POST", r"/api/v1/pipelineStatus/[^/]+/[^/]+", PIPELINES | ADMINISTER),
    # edges: what they do is confined to their own jobs by the services
    _rule("job-repository", "POST", r"/api/v1/facts", EDGES),
    _rule("job-repository", "POST", r"/api/v1/claims", frozenset()),
    _rule("job-repository", "DELETE", r"(?s)/api/v1/claims/.*", frozenset()),
    _rule("job-repository", "POST", r"/api/v1/(introspect|audit)", frozenset()),
    _rule("job-repository", "POST", r"/api/v1/tokens/rotate", EDGES),
    _rule("job-repository", "PUT", r"/api/v1/edges/[^/]+/status", EDGES),
    _rule("job-repository", "GET", r"/api/v1/edges/status", VIEW),
    _rule("job-repository", "GET", r"/api/v1/epoch", VIEW | EDGES),
    _rule("job-repository", "GET", r"/api/v1/job(/[^/]+(/history)?)?", VIEW | EDGES),
    _rule("task-launcher", "POST", r"/api/v1/matchTasks?", EDGES | OPERATE),
    _rule("task-launcher", "POST", r"/api/v1/pipelines", frozenset()),
    _rule("task-launcher", "POST", r"/api/v1/models/[^/]+/verdict", frozenset()),
    _rule("task-launcher", "GET", r"/api/v1/models/[^/]+/content", ADMINISTER),
    _rule("file-receiver-gateway", "POST HEAD PATCH DELETE", r"/api/v1/files(/[^/]+)?", EDGES),
    _rule("file-receiver-gateway", "POST", r"/api/v1/transmit(Job|File)", EDGES),
    _rule("file-receiver-gateway", "POST HEAD PATCH DELETE", r"/api/v1/submissions(/[^/]+)?", OPERATE),
    _rule("job-repository", "POST", r"/api/v1/batches", OPERATE),
    _rule("job-repository", "PUT", r"/api/v1/batches/[^/]+/entries", frozenset()),
    _rule("cell-index", "POST", r"(?s)/api/v1/vectors/.*", frozenset()),
    _rule("cell-index", "POST", r"/api/v1/cells/similar", OPERATE),
    _rule("cell-index", "POST", r"/api/v1/map/(selection|export)", VIEW),  # reads, of which a line is too long to ask
    _rule("cell-index", "POST DELETE", r"/api/v1/map/(groups|gates)(/[^/]+)?", OPERATE),
    _rule("file-sender-gateway", "GET HEAD", r"/api/v1/transmitFile/[^/]+/[^/]+", VIEW | EDGES),
    _rule("file-sender-gateway", "POST", r"/api/v1/archiveFile/[^/]+", EDGES | OPERATE),
    _rule("stream", "POST", r"/api/v1/stream", EDGES | OPERATE),
    # operators: results, and jobs that are stuck
    _rule("job-repository", "PUT", r"/api/v1/job/[^/]+", OPERATE),
    _rule("job-repository", "PUT", r"/api/v1/job/[^/]+/review", OPERATE),
    _rule("job-repository", "POST", r"/api/v1/job/[^/]+/(retry|release|cancel)", OPERATE),
    _rule("job-repository", "POST", r"/api/v1/jobs/(retry|release|cancel|review)", OPERATE),
    _rule("task-launcher", "POST", r"/api/v1/job/[^/]+/rerun", OPERATE),
    _rule("file-sender-gateway", "POST", r"/api/v1/rejects(/[^/]+)?", OPERATE),
    _rule("file-sender-gateway", "POST DELETE", r"/api/v1/reject/[^/]+", OPERATE),
    _rule("", "POST", r"/api/v1/(retry|dataToHandle)", OPERATE),
    # everybody, of themselves
    _rule("job-repository", "GET", r"/api/v1/whoami", VIEW | EDGES),
    _rule("job-repository", "POST", r"/api/v1/(logout|password)", VIEW),
    # what pages ask of others through the dashboard is judged there
    _rule("dashboard", "POST PUT PATCH DELETE", r"/gateway/.+", VIEW),
    # what tells of users and edges is for administrators, though it is only read
    _rule("job-repository", "GET", r"(?s)/api/v1/(users|edges|enrolments|audit).*", ADMINISTER),
    _rule("", "GET", r"/api/v[23]/config", ADMINISTER),
)


def open_to_all(verb: str, path: str) -> bool:
    """Whether anybody may ask this, of any service, without saying who they are."""
    return verb == "OPTIONS" or ANYBODY.fullmatch(path) is not None


CONTINUING = re.compile(r"(/gateway/file-receiver-gateway)?/api/v1/submissions/[^/]+")


def continues(verb: str, path: str) -> bool:
    """Whether this is one of very many parts of what was begun by another request, and noted then."""
    return verb == "PATCH" and CONTINUING.fullmatch(path) is not None


def only_reads(service: str, verb: str, path: str) -> bool:
    """Whether this is a question, sent as a body because it may be long: nothing changes, and nothing is noted."""
    return (service, verb, path) == ("cell-index", "POST", "/api/v1/map/selection")


@lru_cache(maxsize=1024)
def _roles(service: str, verb: str, path: str) -> frozenset[Role]:
    path = path.removesuffix("\n")  # routers' patterns end with $, which does not see a last line break either
    for rule in RULES:
        if rule.service in ("", service) and _is_of(rule, verb) and rule.path.fullmatch(path):
            return rule.roles
    return VIEW if verb in SAFE else ADMINISTER


def _is_of(rule: Rule, verb: str) -> bool:
    """Who may GET something may ask for its HEAD, and nobody else may: routers answer it by the same function."""
    return verb in rule.verbs or (verb == "HEAD" and "GET" in rule.verbs)


def judged_elsewhere(service: str, path: str) -> bool:
    """Whether the service only passes this on: the one that does it judges it, and notes it once."""
    return service == "dashboard" and path.startswith("/gateway/")


def may(role: Role, service: str, verb: str, path: str) -> bool:
    """Whether somebody of this role may ask this of the service. Our own services may everything."""
    return role is Role.SERVICE or role in _roles(service, verb, path)
