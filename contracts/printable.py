"""Text from outside as a terminal or a log may have it: visible, and of one line."""

import re

_UNPRINTABLE = re.compile(
    "[\0-\x1f\x7f-\x9f"  # control characters: newlines forge log lines, escapes steer terminals
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff"  # what was no Unicode: a stream that writes UTF-8 would refuse it
    "\U000e0000-\U000e007f]"  # tags, which nobody sees
)


def printable(text: str) -> str:
    """The text with every character that is invisible, turns the writing or steers a terminal as its escape."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(found[0]) or f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
