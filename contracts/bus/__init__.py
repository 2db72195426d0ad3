"""Carriers of events: in process, Redis, MQTT."""
