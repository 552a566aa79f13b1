"""Tagging by label, both ways: a label `Boxes/<Pipeline>/<Box>` in Gmail and a conversation in a box are one.

`tables` what both sides last agreed on; `names`, `colors`, `decide`, `scheme`, `calls` decide, and are pure;
`looking` reads what they decide upon; `run` does it, inside a mailbox's sync; `wakes` hears of what happens in
Tracker; `switch` and `preview` are for people. The scheme and its definitions: docs/labels.md.
"""
