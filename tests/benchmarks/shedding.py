"""Compare which waiting part a full lane gives up under overload: the oldest, or the newest.

    python -m tests.benchmarks.shedding

A calculation without a clock, the same on every machine: parts arrive at twice the rate that can be judged,
four wait, service times vary by a third, and a part that cannot end by 90 % of 200 ms is skipped at no cost.
Prints the share of what the engine could judge, and the age of the judged parts when their result is there.
"""

import random
import statistics
from collections import deque

PARTS = 20_000
WAITING_MAX = 4
ANSWER_MS = 180.0
LOAD = 2.0  # Arrivals for each part that can be judged.
SERVICE_MS = (5.0, 15.0, 30.0, 40.0, 60.0, 100.0)


def judged(service_ms: float, *, shed_oldest: bool) -> tuple[float, list[float]]:
    """Return the judged share of what the engine could do, and the ages in ms of the judged parts."""
    chance = random.Random(5)
    interval_ms = service_ms / LOAD
    waiting: deque[float] = deque()
    ages: list[float] = []
    free_ms = 0.0
    for number in range(PARTS):
        now_ms = number * interval_ms
        while waiting and free_ms <= now_ms:
            exposed_ms = waiting.popleft()
            started_ms = max(free_ms, exposed_ms)
            if started_ms - exposed_ms + service_ms <= ANSWER_MS:
                free_ms = started_ms + service_ms * chance.uniform(2 / 3, 4 / 3)
                ages.append(free_ms - exposed_ms)
        if len(waiting) == WAITING_MAX and shed_oldest:
            waiting.popleft()
        if len(waiting) < WAITING_MAX:
            waiting.append(now_ms)
    return sum(age <= ANSWER_MS for age in ages) * service_ms / (PARTS * interval_ms), ages


def main() -> None:
    """Print the table."""
    print("| ms per part | given up | judged | age p50 / p95 ms |\n|---|---|---|---|")
    for service_ms in SERVICE_MS:
        for name, shed_oldest in (("oldest", True), ("newest", False)):
            share, ages = judged(service_ms, shed_oldest=shed_oldest)
            cuts = statistics.quantiles(ages, n=20)
            print(f"| {service_ms:g} | {name} | {share:.0%} | {cuts[9]:.0f} / {cuts[18]:.0f} |")


if __name__ == "__main__":
    main()
