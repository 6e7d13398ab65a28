"""What a person does with a browser and a shell, counted.

A step is a row of the table: commands typed, clicks, fields filled in, and seconds. The seconds
are of this run: machine, network and page. What a person takes for the same is estimated
by the keystroke-level model (Card, Moran and Newell, "The Keystroke-Level Model for User
Performance Time with Interactive Systems", Communications of the ACM 23, 7, 1980).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from playwright.sync_api import Error, Locator, Page

KEY_S = 0.28  # an average typist
POINT_S, PRESS_S, HOMING_S, THINK_S = 1.1, 0.2, 0.4, 1.35
CLICK_S = THINK_S + POINT_S + PRESS_S
FIELD_S = CLICK_S + 2 * HOMING_S  # hand to the mouse, and back to the keys


@dataclass
class Step:
    name: str
    commands: int = 0
    clicks: int = 0
    fields: int = 0
    typed: int = 0
    seconds: float = 0.0

    @property
    def person_s(self) -> float:
        """What a person takes, who knows what to do."""
        acts = self.commands * THINK_S + self.clicks * CLICK_S + self.fields * FIELD_S
        return acts + self.typed * KEY_S


@dataclass
class Hands:
    """Does, and counts."""

    page: Page
    steps: list[Step] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """What is done within is one row."""
        self.steps.append(Step(name))
        began = time.monotonic()
        yield
        self.steps[-1].seconds = time.monotonic() - began

    def types(self, command: str) -> str:
        """Note a command that is typed; returns it."""
        self.steps[-1].commands += 1
        self.steps[-1].typed += len(command) + 1
        return command

    def clicks(self, what: Locator) -> None:
        what.click()
        self.steps[-1].clicks += 1

    def presses(self, name: str) -> None:
        self.clicks(self.page.get_by_role("button", name=name, exact=True))

    def follows(self, name: str) -> None:
        self.clicks(self.page.get_by_role("main").get_by_role("link", name=name, exact=True))

    def fills(self, name: str, text: str) -> None:
        """A field by its label."""
        self.page.get_by_label(name, exact=False).first.fill(text)
        self._filled(text)

    def searches(self, text: str) -> None:
        """The field that every page has, and Enter."""
        self.page.fill("#q", text)
        self.page.press("#q", "Enter")
        self._filled(text + "\n")

    def pastes(self, address: str) -> None:
        """An address that was copied, into the bar; the browser warns of the certificate."""
        self._filled("^V\n")
        with contextlib.suppress(Error):  # nobody has signed it
            self.page.goto(address)
        self.clicks(self.page.locator("#details-button"))
        self.clicks(self.page.locator("#proceed-link"))

    def _filled(self, text: str) -> None:
        self.steps[-1].fields += 1
        self.steps[-1].typed += len(text)

    def total(self) -> Step:
        made = Step("in all")
        for step in self.steps:
            made.commands += step.commands
            made.clicks += step.clicks
            made.fields += step.fields
            made.typed += step.typed
            made.seconds += step.seconds
        return made

    def table(self) -> str:
        lines = [
            f"{'':46}{'commands':>9}{'clicks':>8}{'fields':>8}{'keys':>7}"
            f"{'this run':>10}{'person':>9}"
        ]
        for row in [*self.steps, self.total()]:
            counts = f"{row.commands:9}{row.clicks:8}{row.fields:8}{row.typed:7}"
            lines.append(f"{row.name:46}{counts}{row.seconds:8.1f} s{row.person_s:7.0f} s")
        return "\n".join(lines)
