"""The figures of `bayesmm.plots` as pictures inside a page: SVG where that is small, else the smaller file."""

import base64
import io
from collections.abc import Callable

import numpy as np

from bayesmm.drawing import DPI
from bayesmm.report.parts import Figure

SVG_LIMIT = 150_000  # bytes; up to here sharp lines at any size are worth more than a smaller file
LIMIT = 350_000  # bytes; a picture that is larger is drawn again with fewer dots, so that a report stays below 3 MB
COARSE = 80  # dots per inch of that one
PIXELS = 96  # CSS pixels of an inch


def picture(draw: Callable[[], object], caption: str, alt: str) -> Figure:
    """Draw a figure, close it, and return it as a picture.

    Parameters
    ----------
    draw : function
        Draws and returns the axes, as every function of `bayesmm.plots` does.
    caption, alt : str
        See `Figure`.
    """
    import matplotlib.pyplot as plt  # here: importing bayesmm must not load it

    figure = np.ravel(draw())[0].figure
    try:
        kind, data = encoded(figure)
        width, height = (round(PIXELS * inches) for inches in figure.get_size_inches())
    finally:
        plt.close(figure)
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return Figure(caption, alt, source, width, height)


def encoded(figure) -> tuple[str, bytes]:
    """Return the kind of a picture ("svg+xml" or "png") and its bytes."""
    vector = drawn(figure, "svg")
    if len(vector) <= SVG_LIMIT:
        return "svg+xml", vector
    raster = drawn(figure, "png", dpi=DPI)
    if min(len(vector), len(raster)) > LIMIT:
        return "png", drawn(figure, "png", dpi=COARSE)
    return ("svg+xml", vector) if len(vector) < len(raster) else ("png", raster)


def drawn(figure, kind: str, **more: object) -> bytes:
    """Return a figure as a file: of an SVG letters are shapes, so that no font is needed. Same figure, same bytes."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "bayesmm"}):
        figure.savefig(buffer, format=kind, metadata=metadata, **more)
    return buffer.getvalue()
