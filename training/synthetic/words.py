"""Words that say little, and words that may stand for each other, in English."""

STOP_WORDS = frozenset(
    # One text: a word a line would fill a page.
    """a about after all also an and any are as at be been both but by can could did do does each
    for from had has have he her his how i if in into is it its may might more most must my no nor
    not of off on once one only or other our out over own per same she should so some such than that
    the their them then there these they this those through to too under until up use used using
    very was we were what when where whether which while who whom why will with within without
    would you your""".split()  # noqa: SIM905
)
SYNONYMS: dict[str, tuple[str, ...]] = {
    "add": ("append", "insert"),
    "array": ("list", "sequence"),
    "begin": ("start",),
    "big": ("large",),
    "buy": ("purchase",),
    "cancel": ("abort", "stop"),
    "change": ("modify", "alter"),
    "check": ("test", "verify"),
    "close": ("shut",),
    "compare": ("difference between",),
    "convert": ("turn", "translate"),
    "copy": ("duplicate",),
    "create": ("make", "build"),
    "cure": ("heal", "treat"),
    "decrease": ("reduce", "lower"),
    "delete": ("remove", "erase"),
    "directory": ("folder",),
    "error": ("failure", "problem"),
    "exception": ("error",),
    "fast": ("quick",),
    "file": ("document",),
    "find": ("search", "look up"),
    "function": ("method", "routine"),
    "get": ("fetch", "obtain"),
    "increase": ("raise", "rise"),
    "join": ("concatenate", "combine"),
    "large": ("big",),
    "number": ("count",),
    "object": ("instance",),
    "open": ("start",),
    "option": ("setting",),
    "parse": ("read",),
    "path": ("location",),
    "print": ("show", "output"),
    "remove": ("delete", "drop"),
    "return": ("give back",),
    "returns": ("gives",),
    "run": ("execute",),
    "send": ("transmit",),
    "set": ("assign",),
    "small": ("little",),
    "sort": ("order",),
    "split": ("divide",),
    "start": ("begin",),
    "string": ("text",),
    "text": ("string",),
    "wait": ("pause",),
    "write": ("save", "store"),
}
