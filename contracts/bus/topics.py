"""Topics and the wildcards that match them."""


def topic_matches(pattern: str, topic: str) -> bool:
    """Whether a topic matches a subscription with MQTT's wildcards: ``+`` one level, a last ``#`` any rest.

    Source: MQTT 5.0, section 4.7.
    """
    wanted, levels = pattern.split("/"), topic.split("/")
    for place, word in enumerate(wanted):
        if word == "#":
            return True
        if place >= len(levels) or (word != "+" and word != levels[place]):
            return False
    return len(wanted) == len(levels)
