"""The plots of ``--plot``, each as SVG and PNG.

=============  ===================================================================
cost           time per pick over servers, a panel per scheduler
imbalance      the greatest active/weight by the mean, over time, likewise
disruption     who goes to another server, in bars
fairness       each server's share of the connections over its share by weight
=============  ===================================================================
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Final

import matplotlib as mpl

from lvsd.bench.folder import write
from lvsd.bench.plot_panels import cost, imbalance
from lvsd.bench.plot_rows import disruption, fairness
from lvsd.bench.plot_style import STYLE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.figure import Figure

    from lvsd.bench.schedulers import Plan, Results

DPI: Final = 150
FORMATS: Final = ("svg", "png")


def draw(plan: Plan, results: Results, folder: Path) -> list[Path]:
    """Write the plots of what was measured; return their paths. Raise OutputError.

    Each is finished before its file is touched, so that Ctrl-C leaves none half written.
    """
    paths = []
    with mpl.rc_context(STYLE):
        for name, figure in _figures(plan, results):
            for kind in FORMATS:
                path = folder / f"{name}.{kind}"
                metadata = {"Date": None} if kind == "svg" else {}
                drawn = BytesIO()
                figure.savefig(drawn, format=kind, dpi=DPI, metadata=metadata, facecolor="white")
                write(path, drawn.getvalue())
                paths.append(path)
    return paths


def _figures(plan: Plan, results: Results) -> Iterator[tuple[str, Figure]]:
    if results.speed:
        yield "cost", cost(plan, results)
    if results.quality:
        yield "imbalance", imbalance(plan, results)
        yield "disruption", disruption(plan, results)
        yield "fairness", fairness(plan, results)
