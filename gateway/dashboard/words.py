"""The words of pages in the languages there are: one file each, keys alike in all."""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).parent / "words"
FIRST = "en"
Say = Callable[..., str]


@lru_cache
def dictionaries() -> Mapping[str, Mapping[str, str]]:
    """By language; a language is there when its file is."""
    files = sorted(FOLDER.glob("*.json"))
    return {file.stem: json.loads(file.read_text("utf-8")) for file in files}


def chosen(cookie: str, accepted: str) -> str:
    """The language of a page: the one that was chosen, else the first accepted that there is."""
    known = dictionaries()
    if cookie in known:
        return cookie
    for part in accepted.split(","):
        word = part.partition(";")[0].strip().lower()
        for name in (word, word.partition("-")[0]):
            if name in known:
                return name
    return FIRST


def speaker(language: str) -> Say:
    """Says things by their key, names put in. A key that is missing says itself."""
    words = dictionaries().get(language, dictionaries()[FIRST])

    def say(key: str, **named: object) -> str:
        text = words.get(key, key)
        return text.format(**named) if named else text

    return say
