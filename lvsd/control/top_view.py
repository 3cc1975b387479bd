"""The screen of ``lvsadm top``. It needs textual, which lvsd does not need otherwise."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from rich.text import Text
from textual.app import App
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Static

from lvsd.control.top_rows import TITLES, rows
from lvsd.errors import ControlError
from lvsd.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.control.protocol import ServiceEntry
    from lvsd.control.top_rows import Row

PERIOD_S: Final = 1.0


class Source(Protocol):
    """Lists what there is, and changes it. Both methods raise ControlError."""

    async def services(self) -> list[ServiceEntry]:
        """Return all services with their real servers."""

    async def change(self, command: dict[str, Any]) -> None:
        """Carry out one command."""


class Confirm(ModalScreen[bool]):  # type: ignore[misc]  # textual may be absent: Any
    """Asks a question that y answers with yes, and n or Escape with no."""

    BINDINGS: ClassVar = [
        ("y", "answer(True)", "Yes"),
        ("n", "answer(False)", "No"),
        ("escape", "answer(False)", "No"),
    ]
    CSS = """
    Confirm { align: center middle; }
    Confirm > Static { width: auto; max-width: 80%; padding: 1 3; border: thick $warning; }
    """

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> Iterator[Any]:
        """Show the question."""
        yield Static(f"{self.question}\n\ny: yes    n: no", markup=False)

    def action_answer(self, answer: bool) -> None:  # noqa: FBT001 - textual calls it
        """Close with an answer."""
        self.dismiss(answer)


class Top(App[None]):  # type: ignore[misc]  # textual may be absent: Any
    """Shows what a source lists, every second; ``rows`` are those of the table."""

    TITLE = "lvsadm top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar = [
        ("q", "quit", "Quit"),
        ("a", "order('address')", "by address"),
        ("c", "order('connections')", "by connections"),
        ("r", "order('rate')", "by conn/s"),
        ("b", "order('bytes')", "by bytes"),
        ("w", "order('weight')", "by weight"),
        ("d", "change('drain')", "Drain"),
        ("u", "change('undrain')", "Undrain"),
    ]
    CSS = """
    DataTable { height: 1fr; }
    #said { height: 1; }
    #said.failed { background: $error; }
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._services: list[ServiceEntry] = []
        self._order = "address"
        self.rows: list[Row] = []
        self.said = ""
        """The text of the line at the top."""
        # Kept, as nothing below a question is found by a query while that is on the screen.
        self._line = Static("", id="said", markup=False)
        self._table = DataTable(cursor_type="row", zebra_stripes=True)

    def compose(self) -> Iterator[Any]:
        """Compose the status line, the table and the keys."""
        yield self._line
        yield self._table
        yield Footer()

    def on_mount(self) -> None:
        """Start to refresh."""
        self._table.add_columns(*TITLES)
        self.run_worker(self._look())

    async def _look(self) -> None:
        while True:
            await self._look_once()
            await asyncio.sleep(PERIOD_S)

    async def _look_once(self) -> None:
        try:
            self._services = await self._source.services()
        except ControlError as error:
            self._say(f"{error!s} - what is below is old", failed=True)
        else:
            self._show()

    def _show(self) -> None:
        found, count = rows(self._services, self._order)
        shown = f", {len(found)} rows of {count} shown" if count > len(found) else ""
        self._say(
            f"{time.strftime('%H:%M:%S')}  services: {len(self._services)}{shown}  by {self._order}"
        )
        table = self._table
        if [each.key for each in found] == [each.key for each in self.rows]:
            self._update(table, found)
        else:
            self._fill(table, found)
        self.rows = found

    def _update(self, table: Any, found: list[Row]) -> None:
        """Update the cells of a table whose rows are the same."""
        for number, (old, new) in enumerate(zip(self.rows, found, strict=True)):
            for column, (before, cell) in enumerate(zip(old.cells, new.cells, strict=True)):
                if before != cell:
                    table.update_cell_at((number, column), _cell(new, cell), update_width=True)

    def _fill(self, table: Any, found: list[Row]) -> None:
        """Refill the table; the cursor stays on its row, wherever that is now."""
        chosen = self.chosen
        table.clear()
        for row in found:
            table.add_row(*(_cell(row, each) for each in row.cells))
        keys = [each.key for each in found]
        if chosen is not None and chosen.key in keys:
            table.move_cursor(row=keys.index(chosen.key), animate=False)

    def _say(self, what: str, *, failed: bool = False) -> None:
        self.said = printable(what)
        self._line.update(Text(self.said))
        self._line.set_class(failed, "failed")

    # --- keys -----------------------------------------------------------------------------------

    @property
    def chosen(self) -> Row | None:
        """The row that the cursor is at."""
        at = self._table.cursor_row
        return self.rows[at] if 0 <= at < len(self.rows) else None

    def action_order(self, order: str) -> None:
        """Order the rows in another way."""
        self._order = order
        self._show()

    def action_change(self, verb: str) -> None:
        """Drain or undrain the real server at the cursor, once that is confirmed."""
        row = self.chosen
        if row is None or not row.command:
            self.notify(f"Choose a real server to {verb}.", markup=False)
            return

        def answered(yes: object) -> None:
            if yes:
                self.run_worker(self._change({"command": verb, **row.command}))

        self.push_screen(Confirm(f"{verb.capitalize()} {row.name}?"), answered)

    async def _change(self, command: dict[str, Any]) -> None:
        try:
            await self._source.change(command)
        except ControlError as error:
            self.notify(printable(str(error)), severity="error", markup=False)
        else:
            await self._look_once()


def _cell(row: Row, text: str) -> Text:
    """Return a cell: services stand out, and so do problems of a server."""
    if not row.command:
        return Text(text, style="bold")
    return Text(text, style="yellow" if text and text in {row.cells[2], row.cells[-1]} else "")
