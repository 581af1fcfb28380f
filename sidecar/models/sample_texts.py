"""A fixed list of queries and passages: real-looking pairs to measure and compare runtimes on.

Each query stands with passages that answer it, more or less well; `sample_pairs` joins it with
those of other queries too, so that scores spread as they do over a recalled list.
"""

from __future__ import annotations

QUERIES = (
    (
        "how to wait for several coroutines at once",
        (
            "asyncio.gather\nRun awaitable objects concurrently. If all awaitables are completed "
            "successfully, the result is an aggregate list of returned values, whose order "
            "corresponds to the order of the awaitables that were given.",
            "TaskGroup\nAn asynchronous context manager holding a group of tasks. All tasks are "
            "awaited when the context manager exits. The first time any of the tasks belonging to "
            "the group fails with an exception other than a cancellation, the remaining tasks in "
            "the group are cancelled, and no further tasks can then be added. Errors of several "
            "tasks are collected and raised together as an exception group, so none is lost.",
        ),
    ),
    (
        "does vitamin d reduce the risk of fractures",
        (
            "Vitamin D supplementation and fracture prevention: a pooled analysis\nWe examined "
            "trials of oral vitamin D with or without calcium in adults aged 65 years or older. "
            "At the highest actual intake, the reduction in the risk of hip fracture was 30 "
            "percent and of any nonvertebral fracture 14 percent; benefits at lower intake were "
            "consistent with chance. The effect was similar across subgroups defined by type of "
            "dwelling, age, body mass index and baseline concentration of the vitamin in blood.",
            "Calcium absorption in the gut depends on a hormone that the body makes from sunlight.",
        ),
    ),
    (
        "cordless drill 18v brushless with two batteries",
        (
            "18-Volt Lithium-Ion Brushless Hammer Drill Kit\nIncludes two 2.0 Ah batteries, "
            "charger, side handle and contractor bag. Two speed settings, 0-450 and 0-1,600 RPM. "
            "The brushless motor gives up to 57 percent more run time than brushed motors.",
            "18 V battery twin pack, 4 Ah, with fuel gauge",
        ),
    ),
    (
        "who painted the night watch",
        (
            "The Night Watch is a 1642 painting by Rembrandt van Rijn. It is in the collection of "
            "the Amsterdam Museum but is prominently displayed in the Rijksmuseum. It is one of "
            "the most famous Dutch Golden Age paintings, known for making a group portrait of a "
            "civic guard company into a compelling drama energised by light and shadow.",
            "Guards who work at night report poorer sleep than those who work during the day.",
        ),
    ),
    (
        "return policy for opened electronics",
        (
            "Electronics may be returned within 30 days of delivery. Opened items must be whole, "
            "with all cables and manuals; a restocking fee of 15 percent applies unless they are "
            "defective. Software and prepaid cards cannot be returned once opened.",
            "Delivery\nOrders placed before noon leave our warehouse on the same day.",
        ),
    ),
    (
        "what causes northern lights",
        (
            "Auroras are the result of disturbances in the magnetosphere due to the solar wind. "
            "Charged particles, mainly electrons and protons, rain into the upper atmosphere "
            "and excite its constituents; oxygen emits green or brownish red light, nitrogen blue "
            "or red, depending on the amount of energy that is absorbed. Most auroras occur in a "
            "band known as the auroral zone, typically 3 to 6 degrees wide in latitude and between "
            "10 and 20 degrees from the geomagnetic poles, most clearly seen against a dark sky.",
            "Light travels through a vacuum at 299,792,458 metres per second.",
        ),
    ),
    (
        "remove duplicate lines but keep order",
        (
            "dict.fromkeys\nCreate a new dictionary with keys from an iterable. Dictionaries keep "
            "the order of insertion, so list(dict.fromkeys(lines)) drops repeated lines and keeps "
            "the first of each where it was.",
            "sort -u\nWrites the lines of all files in sorted order, and only the first of equal "
            "ones. The original order is lost.",
        ),
    ),
    (
        "waterproof hiking boots for wide feet",
        (
            "Men's Mid Waterproof Hiking Boot, Wide\nFull-grain leather upper with a waterproof "
            "breathable membrane, roomy toe box, cushioned midsole and a grippy rubber outsole. "
            "Runs true to size; available in wide and extra wide. Weight 1.1 kg a pair.",
            "Trail running socks, three pairs, merino wool",
        ),
    ),
    (
        "role of tumor necrosis factor in sepsis",
        (
            "Tumor necrosis factor alpha is produced by macrophages within minutes of exposure to "
            "endotoxin and mediates much of the early haemodynamic response in septic shock. In "
            "animal models, antibodies given before the challenge prevented death, whereas large "
            "clinical trials of neutralising antibodies in established sepsis showed little or no "
            "reduction in mortality at 28 days, which suggests a narrow window for intervention.",
            "Blood cultures should be drawn before antibiotics are given.",
        ),
    ),
    (
        "parse a date in iso format",
        (
            "datetime.fromisoformat\nReturn a datetime corresponding to a string in any valid ISO "
            "8601 format, with the exceptions of time zone offsets with fractional seconds, "
            "fractional hours and minutes, and ordinal dates.",
            "calendar.monthrange\nReturns weekday of first day of the month and number of days.",
        ),
    ),
    (
        "average salary of a nurse in texas",
        (
            "Registered nurses in Texas earned a mean annual wage of 84,320 dollars according to "
            "the most recent survey of occupational employment. Pay differs by area: in Houston "
            "the mean was about 88,700 dollars, along the border it was under 75,000.",
            "Texas is the second largest state of the United States by area and by population.",
        ),
    ),
    (
        "how long to boil eggs",
        (
            "Lower the eggs into boiling water and cook six minutes for a runny yolk, eight for a "
            "soft one and eleven for a firm one. Cool them in iced water so that they peel well.",
            "Eggs are sold by size and by the way in which the hens are kept. A large egg has 63 "
            "to 73 grams with its shell and holds about six grams of protein and five of fat.",
        ),
    ),
)
_PAIRS_A_QUERY = 8


def sample_pairs() -> list[tuple[str, str]]:
    """96 pairs (query, passage): each query with its own two passages and six of other queries."""
    pairs = []
    for number, (query, _) in enumerate(QUERIES):
        for step in range(_PAIRS_A_QUERY):
            _, passages = QUERIES[(number + step // 2) % len(QUERIES)]
            pairs.append((query, passages[step % 2]))
    return pairs
