"""An explanation as a picture for a slide: hosts, the ways of a request and a reply, the plan.

The client stands on the left, the director in the middle with the router below it, the real server
on the right. Each leg of a way is an arrow with a card of what the frame is there; what the plan
made another is bold and named. The sheet is 16:9; what needs more room gets a larger one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.explain.output.boxes import (
    host_height,
    host_width,
    others_height,
    others_width,
    paint_host,
    paint_others,
)
from lvsd.explain.output.canvas import COLOURS, Box, Canvas, width_of, wrapped
from lvsd.explain.output.cards import ARROW_ROOM, GAP, Rows, card_of, paint
from lvsd.explain.output.footer import Footer
from lvsd.explain.output.legs import drawn, legs, notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.explain.model import Explanation, Host, Journey
    from lvsd.explain.output.legs import Leg

WIDTH_AT_LEAST, HEIGHT_AT_LEAST = 1280, 720
WIDENED_UP_TO = 1.5
"""A sheet that has to be higher gets wider as well, up to so many times: 16:9 for two packets."""

MARGIN = 24
HEAD = 76

SHAFT = 46
"""How far a card stands from the middle of the arrow beside it, and a bit more."""

APART = 16
"""From the middle to an upright arrow where there are two of them."""

TITLE_SIZE, LEGEND_SIZE, NOTE_SIZE = 26, 14, 12
NOTE_WIDTH = 120

MIDDLE: Final = ("director", "router")


def svg(explanation: Explanation) -> str:
    """Return an SVG document of the request and the reply that show most of the plan."""
    return _Picture(explanation, drawn(explanation)).document()


class _Picture:
    """Measures, places and paints; everything is known once it is made."""

    def __init__(self, explanation: Explanation, packets: Sequence[tuple[int, Journey]]) -> None:
        self.explanation = explanation
        self.packets = packets
        journeys = [journey for _, journey in packets]
        self.legs = legs(explanation, journeys)
        self.notes = notes(journeys)
        hosts = {host.name: host for host in explanation.hosts}
        self.roles = {name: host.role for name, host in hosts.items()}
        on_the_way = {name for leg in self.legs for name in (leg.start, leg.end)}
        on_the_way |= {"client", "director"}
        self.shown = [host for host in explanation.hosts if host.name in on_the_way]
        self.others = [
            host for host in explanation.hosts if host.role == "server" and host not in self.shown
        ]
        self.rows = self._rows()
        self.footer = Footer(explanation, packets)
        self.canvas = Canvas()
        self.boxes: dict[str, Box] = {}
        self.footer_box = self.others_box = Box(0, 0, 0, 0)

    def _rows(self) -> dict[str, Rows]:
        """Return the cards by place: "left director", "right router", "request" between them."""
        rows: dict[str, Rows] = {}
        for leg in self.legs:
            rows.setdefault(self._place(leg), Rows([])).cards.append(card_of(leg))
        return rows

    def _place(self, leg: Leg) -> str:
        ends = {self.roles[leg.start]: leg.start, self.roles[leg.end]: leg.end}
        if {"director", "router"} <= set(ends):
            return leg.direction
        middle = "director" if "director" in ends else "router"
        return f"{'left' if 'client' in ends else 'right'} {middle}"

    def document(self) -> str:
        """Paint it all, and return it."""
        width, height = self._arrange()
        self._head(width)
        for host in self.shown:
            paint_host(self.canvas, self.boxes[host.name], host, self._below(host))
        for side in ("left", "right"):
            for middle in MIDDLE:
                self._level(side, middle)
        self._upright()
        paint_others(self.canvas, self.others_box, self.others)
        self.footer.paint(self.canvas, self.footer_box)
        title, description = self.explanation.title, self._description()
        return self.canvas.document(width, height, title, description)

    # --- where things are -------------------------------------------------------------------

    def _arrange(self) -> tuple[float, float]:
        """Place the hosts and the footer, and return the picture's size."""
        client, middle, servers = self._columns()
        gap = max(self._gap("left", middle), self._gap("right", middle))
        width = 2 * MARGIN + client + middle + servers + 2 * gap
        beside = 2 * MARGIN + servers + GAP
        foot = self.footer.height(max(width, WIDTH_AT_LEAST) - beside)
        foot = max(foot, others_height(self.others))
        bands = {name: self._band(name) for name in MIDDLE}
        upright = max(self._room(way).beside for way in COLOURS)
        upright += 2 * GAP if bands["router"] else 0
        height = HEAD + sum(bands.values()) + upright + GAP + foot + MARGIN

        ratio = WIDTH_AT_LEAST / HEIGHT_AT_LEAST
        sheet_width = max(width, WIDTH_AT_LEAST)
        sheet_width = round(max(sheet_width, min(height * ratio, sheet_width * WIDENED_UP_TO)))
        sheet_height = round(max(height, sheet_width / ratio))
        gap += (sheet_width - width) / 2
        for name, band in bands.items():
            stretched = bool(band) * (sheet_height - height) / sum(map(bool, bands.values()))
            bands[name] = band + stretched

        x = MARGIN + client + gap
        stage = sum(bands.values()) + upright
        tops = {"director": HEAD, "router": HEAD + bands["director"] + upright}
        for host in self.shown:
            match host.role:
                case "client":
                    box = Box(MARGIN, HEAD, client, stage)
                case "server":
                    box = Box(x + middle + gap, HEAD, servers, stage)
                case _:
                    box = Box(x, tops[host.role], middle, bands[host.role])
            self.boxes[host.name] = box
        top = HEAD + stage + GAP
        self.footer_box = Box(MARGIN, top, sheet_width - beside, foot)
        self.others_box = Box(x + middle + gap, top, servers, foot)
        return sheet_width, sheet_height

    def _columns(self) -> tuple[float, float, float]:
        """Return how wide the client's column is, the middle one, and the real servers'."""
        widths = {
            role: max(
                (host_width(host, self._below(host)) for host in self.shown if host.role == role),
                default=0,
            )
            for role in ("client", *MIDDLE, "server")
        }
        return (
            widths["client"],
            max(widths[name] for name in MIDDLE),
            max(widths["server"], others_width(self.others)),
        )

    def _room(self, place: str) -> Rows:
        return self.rows.get(place, Rows([]))

    def _gap(self, side: str, middle: float) -> float:
        """Return how wide it is between the middle column and one at its side."""
        level = max(self._room(f"{side} {name}").width for name in MIDDLE)
        upright = self._room("request" if side == "right" else "reply")
        beside = upright.width + SHAFT + APART - middle / 2
        return max(level + GAP, beside) + GAP

    def _band(self, name: str) -> float:
        """Return how high the director's or the router's part is; 0 without it."""
        host = next((host for host in self.shown if host.role == name), None)
        if host is None:
            return 0
        rows = max(self._room(f"{side} {name}").height for side in ("left", "right"))
        return max(rows, host_height(host, self._below(host)))

    def _below(self, host: Host) -> list[str]:
        """Return the lines in a host's box below its addresses."""
        if host.role == "director":
            return ["VIP", self.explanation.virtual]
        said = dict.fromkeys(self.notes.get(host.name, []))
        return [line for text in said for line in wrapped(text, NOTE_WIDTH, NOTE_SIZE)]

    # --- painting ---------------------------------------------------------------------------

    def _description(self) -> str:
        """Return what there is to see, for those who do not."""
        ways = []
        for number, journey in self.packets:
            names = dict.fromkeys(hop.host for hop in journey.hops)
            ways.append(f"Packet {number}, {journey.title}, goes by {', '.join(names)}.")
        for leg in self.legs:
            said = "; ".join(
                f"{line.label} {line.value}{f' ({line.tag})' if line.tag else ''}".strip()
                for line in leg.lines
            )
            ways.append(f"{leg.number}. {leg.start} to {leg.end}: {said}.")
        return " ".join(ways)

    def _head(self, width: float) -> None:
        """Write the title, and what the colours mean."""
        self.canvas.text(MARGIN, 44, self.explanation.title, TITLE_SIZE, bold=True)
        x = width - MARGIN
        for number, journey in reversed(self.packets):
            way = journey.direction
            text = f"{way}: packet {number}, {journey.title}"
            x -= width_of(text, LEGEND_SIZE)
            self.canvas.text(x, 64, text, LEGEND_SIZE)
            self.canvas.arrow((x - 58, 59.5), (x - 8, 59.5), COLOURS[way], dashed=way == "reply")
            x -= 90

    def _level(self, side: str, middle: str) -> None:
        """Paint the level arrows of one side of the director or the router, with their cards."""
        rows = self._room(f"{side} {middle}")
        if not rows.cards:
            return
        box = next(self.boxes[host.name] for host in self.shown if host.role == middle)
        # As the other side has them, if that is fuller: arrows that go on are in one line.
        sides = [self._room(f"{each} {middle}") for each in ("left", "right")]
        height, count = max(each.height for each in sides), max(len(each.cards) for each in sides)
        slack = (box.height - height + GAP) / (count + 1)
        y = box.y + slack
        for card in rows.cards:
            start, end = self.boxes[card.leg.start], self.boxes[card.leg.end]
            forward = start.x < end.x
            tail, head = (start.right, end.x - 2) if forward else (start.x, end.right + 2)
            at = y + ARROW_ROOM / 2 - 2
            colour = COLOURS[card.leg.direction]
            dashed = card.leg.direction == "reply"
            self.canvas.arrow((tail, at), (head, at), colour, dashed=dashed)
            self.canvas.badge(tail + (24 if forward else -24), at, card.leg.number, colour)
            x = (min(tail, head) + max(tail, head) - card.width) / 2
            paint(self.canvas, card, x, y + ARROW_ROOM)
            y += card.room + slack

    def _upright(self) -> None:
        """Paint the arrows between director and router, requests on the right of replies."""
        if not any(self._room(way).cards for way in COLOURS):
            return
        ends = {self.roles[name]: box for name, box in self.boxes.items()}
        top, bottom, axis = ends["director"].bottom, ends["router"].y, ends["director"].middle
        both = all(self._room(way).cards for way in COLOURS)
        for way, side in (("request", 1), ("reply", -1)):
            for card in self._room(way).cards:  # at most one
                down = self.roles[card.leg.start] == "director"
                x = axis + side * APART * both
                tail, head = (top, bottom - 2) if down else (bottom, top + 2)
                self.canvas.arrow((x, tail), (x, head), COLOURS[way], dashed=way == "reply")
                self.canvas.badge(x, tail + (20 if down else -20), card.leg.number, COLOURS[way])
                near = axis + side * (SHAFT - APART)
                left = near if side > 0 else near - card.width
                paint(self.canvas, card, left, (top + bottom - card.height) / 2)
