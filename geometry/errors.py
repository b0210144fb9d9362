"""The one error that a user is meant to read."""


class InputError(Exception):
    """Something from outside (a file, a flag, a recording) is not what a step needs.

    The command line prints it and ends with exit code 2; it never reaches a user as a traceback.
    """

    def __init__(self, expected: str, got: str, remedy: str) -> None:
        self.expected = expected
        self.got = got
        self.remedy = remedy
        super().__init__(f"expected {expected}; got {got}; {remedy}")

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        """Cross process borders whole: pickling an exception replays its constructor's arguments."""
        return type(self), (self.expected, self.got, self.remedy)
