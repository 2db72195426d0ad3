"""The instrument side: watch, register, send, receive."""
