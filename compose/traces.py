"""Sends spans to an OpenTelemetry collector, if one is configured and the packages are there."""

import hashlib
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from contracts import tracing

log = logging.getLogger(__name__)
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@contextmanager
def exported(role: str) -> Iterator[None]:
    """Spans are exported while the context is open, where OpenTelemetry's own variables name a collector; what is
    left is sent at the end. Without it, or without the ``[otel]`` packages, nothing is traced."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        yield
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        log.warning("traces are wanted, but need pip install 'cytobus[otel]' (%s)", error)
        yield
        return
    provider = TracerProvider(resource=Resource.create({"service.name": f"cytobus-{role}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("cytobus")

    @contextmanager
    def opened(name: str, job_id: str, attributes: dict[str, str | int]) -> Iterator[None]:
        try:
            number = uuid.UUID(job_id).int
        except ValueError:
            yield  # a job whose id is no UUID has no trace
            return
        # All spans of a job hang from one that nobody sends: its number is made of the job's, too.
        root = int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:8], "big") or 1
        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        parent = trace.SpanContext(trace_id=number, span_id=root, is_remote=True, trace_flags=flags)
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        with tracer.start_as_current_span(name, context, attributes={"job.id": job_id, **attributes}):
            yield

    tracing.trace_with(opened)
    try:
        yield
    finally:
        tracing.trace_with(None)
        provider.shutdown()
