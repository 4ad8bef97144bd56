"""The errors a user can mend: each says what was expected, what came, and the next step."""


class RacerError(Exception):
    """Base of all errors that the scripts print as one line, without a traceback."""


class TableError(RacerError):
    """An outcome table, or a file it is read from, is not as it must be."""


class ConfigError(RacerError):
    """Settings that contradict each other, or a run folder that does not fit them."""


class Infeasible(RacerError):
    """No cut keeps the promise on these calibration queries.

    `needed` is the least number of calibration queries for which one can, None if more would not help, and
    `reachable` the smallest alpha that the `n` queries at hand can promise.
    """

    def __init__(self, message: str, *, n: int, needed: int | None, reachable: float):
        super().__init__(message)
        self.n, self.needed, self.reachable = n, needed, reachable
