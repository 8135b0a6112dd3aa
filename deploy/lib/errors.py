"""What the person at the terminal reads when something did not work."""


class DemoError(Exception):
    """what failed, why, and the next step; one short sentence each."""

    def __init__(self, what: str, why: str = "", next_step: str = "", exit_code: int = 1):
        super().__init__(what)
        self.what = what
        self.why = why
        self.next_step = next_step
        self.exit_code = exit_code

    def text(self) -> str:
        lines = [f"error: {self.what}"]
        for part in (self.why, self.next_step):
            lines += ["  " + line for line in part.strip().splitlines()]
        return "\n".join(lines)
