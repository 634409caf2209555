"""Draw the PASS parts that are inspected again: at random, whatever their score."""

from hashlib import blake2b

DRAWS = 2**64


class Draw:
    """Takes a share of all parts; which ones, only the holder of the key can tell beforehand.

    The same part is taken by every process with the same key and share, so the line, which keeps its frame,
    and what counts it later agree.
    """

    def __init__(self, key: bytes, share: float) -> None:
        """`share` is 0 to 1; 0 takes none."""
        self._key = key
        self._taken = round(share * DRAWS)

    def takes(self, boot: int, seq: int) -> bool:
        """Whether this part, if it passes, is inspected again."""
        if not self._taken:
            return False
        drawn = blake2b(f"{boot}-{seq}".encode(), key=self._key, digest_size=8).digest()
        return int.from_bytes(drawn) < self._taken
