"""Words of scripts that write no spaces, for what edits, compares or embeds words."""

from __future__ import annotations

import re

_ALONE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")


def spaced(text: str) -> str:
    """Return a text with white space around each character of Chinese, Japanese and Korean script.

    What splits at white space afterwards takes each such character as a word; other texts stay as they are.
    """
    return _ALONE.sub(r" \g<0> ", text)
