"""Sign-ins are delayed after failures, in bounded memory, and a flood costs little."""

from dataclasses import dataclass

from linewatch.people.attempts import (
    ADDRESS_FREE,
    BURST,
    CHECKS_PER_S,
    DELAY_S,
    DELAY_S_MAX,
    FORGET_S,
    KEYS_MAX,
    USER_FREE,
    Attempts,
)


@dataclass
class Clock:
    """A clock that a test moves."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def fail(attempts: Attempts, clock: Clock, count: int, user: str = "anna", address: str = "10.0.0.1") -> None:
    """Let a password be wrong `count` times, each as soon as it may be tried."""
    for _ in range(count):
        while wait_s := attempts.begin(user, address):
            clock.now_s += wait_s
        attempts.failed(user, address)


def test_typing_errors_are_not_delayed() -> None:
    """Five are free, the next waits, and each wait is twice the last up to five minutes."""
    clock = Clock()
    attempts = Attempts(clock)

    fail(attempts, clock, USER_FREE)
    assert attempts.begin("anna", "10.0.0.1") < 1
    waits = []
    for _ in range(8):
        fail(attempts, clock, 1)
        waits.append(attempts.begin("anna", "10.0.0.1"))

    assert waits[:3] == [DELAY_S, 2 * DELAY_S, 4 * DELAY_S]
    assert waits[-1] == DELAY_S_MAX


def test_a_user_waits_from_every_address_and_in_every_spelling() -> None:
    """Neither another address nor capital letters give more guesses; other users are not affected."""
    clock = Clock()
    attempts = Attempts(clock)

    fail(attempts, clock, USER_FREE + 1)

    assert attempts.begin("ANNA", "10.0.0.2") == DELAY_S
    assert attempts.begin("ben", "10.0.0.1") == 0


def test_an_address_that_tries_many_names_waits() -> None:
    """For every name, known or not; other addresses are not affected."""
    clock = Clock()
    attempts = Attempts(clock)

    for guess in range(ADDRESS_FREE + 1):
        fail(attempts, clock, 1, user=f"user{guess}")

    assert attempts.begin("anna", "10.0.0.1") > 1
    assert attempts.begin("anna", "10.0.0.2") < 1


def test_success_forgets_the_user_s_failures_but_not_the_address_s() -> None:
    """One known password does not reset what its owner guesses of others."""
    clock = Clock()
    attempts = Attempts(clock)

    for _ in range(ADDRESS_FREE + 1):
        fail(attempts, clock, 1)
        attempts.succeeded("anna", "10.0.0.1")

    assert attempts.begin("anna", "10.0.0.1") > 1
    clock.now_s += DELAY_S
    assert attempts.begin("anna", "10.0.0.9") == 0


def test_failures_are_forgotten_after_an_hour() -> None:
    """Five typing errors a day never add up."""
    clock = Clock()
    attempts = Attempts(clock)
    fail(attempts, clock, USER_FREE)
    clock.now_s += FORGET_S + 1

    fail(attempts, clock, 1)

    assert attempts.begin("anna", "10.0.0.1") < 1


def test_a_flood_is_checked_four_times_a_second_at_most() -> None:
    """From however many addresses with however many names."""
    clock = Clock()
    attempts = Attempts(clock)
    checked = 0

    for second in range(10):
        for guess in range(200):
            checked += attempts.begin(f"u{second}-{guess}", f"10.0.{second}.{guess}") == 0
        clock.now_s += 1

    assert checked <= BURST + 10 * CHECKS_PER_S


def test_memory_is_bounded() -> None:
    """The failures longest ago are dropped."""
    clock = Clock()
    attempts = Attempts(clock)

    for guess in range(3 * KEYS_MAX):
        attempts.failed(f"user{guess}", f"10.{guess >> 8}.{guess & 255}.1")

    assert len(attempts._failures) == KEYS_MAX
