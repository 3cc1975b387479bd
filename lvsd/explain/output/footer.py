"""What stands below a picture: the plan's steps in both directions, and the scheduler's pick."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.explain.output.canvas import COLOURS, GREY, LINE, WHITE, Box, Canvas, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from forwarders.plan import Step
    from lvsd.explain.model import Choice, Explanation, Journey

SIZE, LINE_HEIGHT = 14, 20


class Footer:
    """The plan's steps and the scheduler's pick, below the picture."""

    def __init__(self, explanation: Explanation, packets: Sequence[tuple[int, Journey]]) -> None:
        plan = explanation.plan
        self.columns: list[tuple[str, list[str]]] = []
        steps: Mapping[str, Sequence[Step] | None] = {
            "request": plan.request if plan else None,
            "reply": plan.reply if plan else None,
        }
        for way, those in steps.items():
            outcome = [journey.outcome for _, journey in packets if journey.direction == way][:1]
            if plan is None:
                said = ["none: no connection came about"]
            elif those is None:
                said = ["none: it does not come back to the director"]
            else:
                said = [f"{number}. {step}" for number, step in enumerate(those, 1)]
            self.columns.append((way, [*said, *outcome]))
        self.pick = _pick(explanation.choice)

    def height(self, width: float) -> float:
        """Return how high it is when it is that wide."""
        rows = max(len(_wrapped_all(lines, self._half(width))) for _, lines in self.columns)
        return (2 + rows + len(wrapped(self.pick, width - 32, SIZE))) * LINE_HEIGHT + 12

    def _half(self, width: float) -> float:
        return (width - 48) / 2

    def paint(self, canvas: Canvas, box: Box) -> None:
        """Paint it."""
        canvas.rect(box, fill=WHITE, stroke=LINE, radius=8)
        top = bottom = box.y + 8
        for place, (way, lines) in enumerate(self.columns):
            x = box.x + 16 + place * (self._half(box.width) + 16)
            y = top + LINE_HEIGHT
            canvas.text(x, y - 4, f"Plan, {way}", SIZE, colour=COLOURS[way], bold=True)
            for line in _wrapped_all(lines, self._half(box.width)):
                y += LINE_HEIGHT
                canvas.text(x, y - 4, line, SIZE)
            bottom = max(bottom, y)
        y = bottom + 10
        for line in wrapped(self.pick, box.width - 32, SIZE):
            y += LINE_HEIGHT
            canvas.text(box.x + 16, y - 4, line, SIZE, colour=GREY)


def _pick(choice: Choice | None) -> str:
    """Return the scheduler's pick and why."""
    if choice is None:
        return ""
    picked = next((one for one in choice.candidates if one.picked), None)
    rule = f" {choice.rule}" if choice.rule else ""
    if picked is None:
        return f"Scheduler {choice.scheduler} picks nobody.{rule}"
    said = f": {picked.text}" if picked.text else ""
    return f"Scheduler {choice.scheduler} picks {picked.server}{said}.{rule}"


def _wrapped_all(texts: Iterable[str], width: float) -> list[str]:
    return [line for text in texts for line in wrapped(text, width, SIZE)]
