"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# Shared machines are slow at times: how long an example takes says nothing about it.
settings.register_profile("sidecar", deadline=None, print_blob=True)
settings.load_profile("sidecar")
