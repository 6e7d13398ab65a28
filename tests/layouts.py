"""Sound YAML in layouts that no tool would choose: for every seed another file, always the same
one.

Indentation, quotes, comments, blank lines, line ends, flow and block style, anchors and merges are
mixed at random; the values are sound, so that only the layout can be at fault.
"""

from __future__ import annotations

import random

COMMENTS = (
    "# a comment",
    "#",
    "#\ttab\tand  blanks  ",
    "# ключ: {не: yaml}",
    "# 'quote",
    '# "quote',
    "#: - [",
)
DESCRIPTIONS = ("Anna's phone", "größer", "日本 語", "a # b", "x: y", "{no}", "tab\\t", "-", "null")


class Layout:
    """One file: `text`, and the networks in it whose endpoints may be edited."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.step = self.random.choice((1, 2, 2, 2, 3, 4, 8))
        self.lines: list[str] = []
        self.networks: list[str] = []
        self.missing: set[str] = set()
        self.text = self.drawn()

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def drawn(self) -> str:
        if self.chance(0.2):
            self.lines += ["%YAML 1.2"] * self.chance(0.3) + ["---"]
        self.noise(0)
        self.line(0, "version: 1")
        if self.chance(0.3):
            self.line(0, "gateway:")
            self.line(
                self.step,
                self.random.choice(("name: gw-1", "dns: [9.9.9.9]", "pools: {ports: 51820-51999}")),
            )
        self.line(0, self.key("networks") + ":")
        for number in range(self.random.randint(1, 5)):
            self.network(f"{self.random.choice(('n', 'corp-', '0', 'no-'))}{number}")
        if self.chance(0.2):
            self.noise(self.random.randint(0, 9))
            self.lines += ["..."] * self.chance(0.3)
        end = self.random.choice(("\n", "\n", "\n", "\r\n", "\r"))
        last = self.random.choice(
            (end, end, "", end + end, end + "   " + end, end + "  ", end + "# end")
        )
        return end.join(self.lines) + last

    def line(self, column: int, text: str) -> None:
        tail = self.random.choice(("", "", "", "", " ", "   ", " " + self.random.choice(COMMENTS)))
        self.lines.append(" " * column + text + tail)

    def noise(self, column: int) -> None:
        while self.chance(0.25):
            kind = self.random.random()
            if kind < 0.4:
                self.lines.append(self.random.choice(("", "", "   ")))
            else:
                indent = self.random.choice((0, column, column, column + 2, column + 9))
                self.lines.append(" " * indent + self.random.choice(COMMENTS))

    def key(self, name: str) -> str:
        return self.random.choice((name, name, name, f'"{name}"', f"'{name}'"))

    def network(self, name: str) -> None:
        column = self.step
        self.noise(column)
        self.networks.append(name)
        if self.chance(0.15):
            self.line(column, f"{self.key(name)}: {self.flow_network(name)}")
            return
        anchor = f" &a-{name}" if self.chance(0.1) else ""
        self.line(column, f"{self.key(name)}{' ' * self.chance(0.05)}:{anchor}")
        inner = column + self.random.choice((self.step, self.step, 1, 5))
        parts = [self.kind, self.endpoints, *([self.description] if self.chance(0.4) else [])]
        self.random.shuffle(parts)
        for part in parts:
            self.noise(inner)
            part(name, inner)
        self.noise(inner)

    def kind(self, _name: str, column: int) -> None:
        self.line(column, f"{self.key('type')}:{' ' * self.random.randint(1, 3)}l2-mesh")

    def description(self, _name: str, column: int) -> None:
        head = self.key("description") + ": "
        if self.chance(0.5):
            self.line(column, head + '"' + self.random.choice(DESCRIPTIONS) + '"')
            return
        self.lines.append(" " * column + head + self.random.choice(("|", ">", "|-", "|+", ">+")))
        self.lines += [" " * (column + 3) + word for word in ("two # lines", "", "endpoints: {}")]
        self.lines += [""] * self.random.randint(0, 2)

    def flow_network(self, name: str) -> str:
        inside = self.random.choice(("", " "))
        parts = ["type: l2-mesh"]
        if self.chance(0.5):
            parts.append(f"endpoints: {self.flow_endpoints()}")
        else:
            self.missing.add(name)
        self.random.shuffle(parts)
        return "{" + inside + ", ".join(parts) + ("," if self.chance(0.1) else "") + inside + "}"

    def flow_endpoints(self) -> str:
        inside = self.random.choice(("", " ", "  "))
        names = [f"e{number}: {{type: cpe}}" for number in range(self.random.randint(0, 3))]
        body = self.random.choice((", ", ",", " , ")).join(names)
        if names and inside == " " and len(names) == 1:
            inside = ""  # alone between blanks it would be the mark of `add`
        return "{" + inside + body + ("," if names and self.chance(0.15) else "") + inside + "}"

    def endpoints(self, name: str, column: int) -> None:
        kind = self.random.random()
        if kind < 0.2:
            self.missing.add(name)
        elif kind < 0.35:
            self.line(column, f"{self.key('endpoints')}: {self.flow_endpoints()}")
        elif kind < 0.5:
            self.unfolded(column)
        else:
            self.block(name, column)

    def unfolded(self, column: int) -> None:
        """Flow style on many lines."""
        self.line(column, f"{self.key('endpoints')}: {{")
        count = self.random.randint(1, 3)
        for number in range(count):
            self.noise(column + 2)
            comma = "," if number + 1 < count or self.chance(0.4) else ""
            self.line(
                column + self.random.choice((2, 2, 4)),
                f"{self.key(f'e{number}')}: {{type: cpe}}{comma}",
            )
        self.noise(column + 2)
        self.line(column + self.random.choice((1, 2)), "}")

    def block(self, name: str, column: int) -> None:
        anchor = f" &e-{name}" if self.chance(0.1) else ""
        self.line(column, f"{self.key('endpoints')}:{anchor}")
        inner = column + self.random.choice((1, self.step, self.step, 6))
        for number in range(self.random.randint(1, 4)):
            self.noise(inner)
            self.endpoint(f"e{number}", inner)

    def endpoint(self, name: str, column: int) -> None:
        kind = self.random.random()
        if kind < 0.4:
            self.line(
                column,
                f"{self.key(name)}: {{type:"
                f" cpe{self.random.choice(('', ', keepalive: 25', ', rotation: 3'))}}}",
            )
            return
        if kind < 0.5:
            self.lines += [" " * column + f"{name}: {{", " " * (column + 3) + "type: cpe }  # so"]
            return
        self.line(column, f"{self.key(name)}:")
        deeper = column + self.random.choice((1, self.step, 7))
        self.line(deeper, "type: cpe")
        if self.chance(0.3):
            self.noise(deeper)
            self.line(deeper, self.random.choice(("routes:", "keepalive: 0x19", "rotation: 0")))
            if self.lines[-1].strip().startswith("routes"):
                self.line(deeper, "- 10.9.0.0/16")
        if self.chance(0.15):
            self.description(name, deeper)
