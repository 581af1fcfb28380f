"""What the demo asks before its user does."""

from __future__ import annotations

# A query, and the module it is limited to by a filter, "" for none.
QUERIES = (
    ("wait for several coroutines at once", ""),
    ("remove duplicate lines but keep order", ""),
    ("run a command and capture what it prints", ""),
    ("make a temporary folder that removes itself", ""),
    ("compare two texts and show the differences", ""),
    ("call a function again later, after some seconds", "asyncio"),
)
