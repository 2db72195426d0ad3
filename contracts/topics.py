"""Names and topics on the EdgeX bus, over MQTT and over Redis Pub/Sub."""

import re

_UNSAFE = re.compile(r"[^A-Za-z0-9\-_~:;=]")

JOBS = "jobs"
PARAMS = "pipeline/params"
RESULTS = "pipeline/inferenceResults"


def safe_name(name: str) -> str:
    """The name with every character that EdgeX 2.3 would refuse as ``_``; never empty, so a level stays."""
    return _UNSAFE.sub("_", name) or "_"


def device_topic(service: str, profile: str, device: str, source: str, *, base: str = "edgex") -> str:
    """Where a device service (v3 and later) publishes an event: seven levels."""
    return "/".join([base, "events", "device", *map(safe_name, (service, profile, device, source))])


def redis_channel(topic: str) -> str:
    """The Redis channel, or the pattern for PSUBSCRIBE, of a topic."""
    return topic.translate({ord("/"): ".", ord("#"): "*", ord("+"): "*"})


def topic_of_channel(channel: str) -> str:
    """The topic that EdgeX makes of a Redis channel; a dot inside a level splits it, as it does there."""
    return channel.replace(".", "/")


def mqtt_export_topic(topic: str) -> str:
    """Where AiCSD's exporter repeats a message for programs outside; a Redis channel will do as well."""
    return "mqtt-export/" + topic_of_channel(topic)
