"""Boards: tables computed from records, and from nothing else. Never imports torch.

`rows.build(store)` makes a `Board` of values; `markdown.render`, `document.as_json` and `curves` only print it.
"""
