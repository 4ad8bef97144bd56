"""Texts of endpoints as they can be written anywhere: half a character, as of an emoji that was cut, is U+FFFD."""

import json
import re
from typing import Any

HALF = re.compile("[\ud800-\udfff]")
MAY_BE_HALF = re.compile(r"\\u[dD]|[\ud800-\udfff]")  # in JSON; whole characters may be written so too, in two halves


def whole(text: str) -> str:
    """Return the text with U+FFFD in the place of each half of a character, on which UTF-8 has no word."""
    return HALF.sub("\ufffd", text)


def loads(content: bytes) -> Any:
    """Return the value of a JSON document, its texts whole; raise `ValueError` or `RecursionError` if it is none."""
    text = content.decode(json.detect_encoding(content), "surrogatepass")
    value = json.loads(text)
    return _whole(value) if MAY_BE_HALF.search(text) else value


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return {whole(key): _whole(one) for key, one in value.items()} if isinstance(value, dict) else value
