"""Repeats messages for programs outside, over MQTT."""
