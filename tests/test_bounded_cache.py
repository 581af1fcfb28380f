"""The bounded cache against a plain model of one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.bounded_cache import ENTRY_BYTES, BoundedCache

keys = st.integers(0, 8)
steps = st.lists(st.tuples(keys, st.none() | st.integers(0, 900)), max_size=80)


@given(steps, st.integers(0, 3000))
def test_it_is_a_least_recently_used_cache_within_its_bytes(
    steps: list[tuple[int, int | None]], max_bytes: int
) -> None:
    """A step gets a key, or puts it with so many bytes."""
    cache: BoundedCache[int, int] = BoundedCache(max_bytes)
    kept: list[tuple[int, int]] = []  # (key, size), the most recently used last
    hits = gets = 0
    for key, size in steps:
        found = next((entry for entry in kept if entry[0] == key), None)
        if found is not None:
            kept.remove(found)
        if size is None:
            assert cache.get(key) == (None if found is None else found[1])
            gets, hits = gets + 1, hits + (found is not None)
            kept += [found] if found is not None else []
            continue
        cache.put(key, size, size)
        if size + ENTRY_BYTES <= max_bytes:
            kept.append((key, size))
        while sum(size + ENTRY_BYTES for _, size in kept) > max_bytes:
            kept.pop(0)
        assert cache.bytes == sum(size + ENTRY_BYTES for _, size in kept) <= max_bytes
        assert len(cache) == len(kept)
    assert (cache.hits, cache.misses) == (hits, gets - hits)


def test_without_bytes_nothing_is_kept() -> None:
    cache: BoundedCache[str, str] = BoundedCache(0)
    cache.put("a", "b", 0)
    assert cache.get("a") is None
    assert len(cache) == 0
