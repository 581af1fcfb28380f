"""Real pairs that travel in a model's contract, to check a runtime against.

Each query comes twice: with a passage that answers it and with one that does not.
"""

PAIRS: tuple[tuple[str, str], ...] = tuple(
    (query, passage)
    for query, *passages in (
        (
            "wait for several coroutines at once",
            "asyncio.gather\nReturn a future aggregating results from the given "
            "coroutines/futures. Coroutines will be wrapped in a future and scheduled in the event "
            "loop.",
            "shutil.copytree\nRecursively copy a directory tree and return the destination "
            "directory.",
        ),
        (
            "how to split a path into folder and file name",
            'posixpath.split\nSplit a pathname. Returns tuple "(head, tail)" where "tail" is '
            "everything after the final slash. Either part may be empty.",
            "posixpath.getsize\nReturn the size of a file, reported by os.stat().",
        ),
        (
            "stable sort of a list in reverse",
            "sorted\nReturn a new list containing all items from the iterable in ascending order. "
            "A custom key function can be supplied to customize the sort order, and the reverse "
            "flag can be set to request the result in descending order.",
            "random.shuffle\nShuffle list x in place, and return None.",
        ),
        (
            "diffusion tensor imaging of the newborn brain",
            "Microstructural development of human newborn cerebral white matter assessed in vivo "
            "by diffusion tensor magnetic resonance imaging.\nAlterations of the architecture of "
            "cerebral white matter in the developing human brain can affect cortical development "
            "and result in functional disabilities.",
            "Kindle Paperwhite – Now Waterproof with 2x the Storage – Ad-Supported\nThe thinnest, "
            "lightest Kindle Paperwhite yet—with a flush-front design and 300 ppi glare-free "
            "display that reads like real paper even in bright sunlight.",
        ),
        (
            "waterproof e reader",
            "Kindle Paperwhite – Now Waterproof with 2x the Storage – Ad-Supported\nThe thinnest, "
            "lightest Kindle Paperwhite yet—with a flush-front design and 300 ppi glare-free "
            "display that reads like real paper even in bright sunlight.",
            "tempfile.mkdtemp\nUser-callable function to create and return a unique temporary "
            "directory.",
        ),
    )
    for passage in passages
)
