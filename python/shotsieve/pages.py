"""What pages and pictures are made of: matplotlib's figures, images and tables in HTML, whole files."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ._version import __version__
from .errors import BadInput, OutputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "MASKED",
    "colours",
    "figure",
    "image",
    "need_matplotlib",
    "new_figure",
    "page",
    "save_figure",
    "section",
    "table",
    "write_whole",
]

MASKED = "0.85"  # grey: neither a value nor the page

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5em auto; padding: 0 1em }
body { max-width: 70em; color: #222 }
h1 { font-size: 1.5em; margin-bottom: .2em }
h2 { font-size: 1.1em; margin: 1.6em 0 .3em; border-bottom: 1px solid #ccc }
.note { color: #666 }
table { border-collapse: collapse } td, th { padding: .1em .8em .1em 0; text-align: left }
td.n { text-align: right }
figure { display: inline-block; margin: .3em .8em .3em 0; vertical-align: top } figcaption { color: #555 }
img { max-width: 100%; height: auto } code { background: #f3f3f3; padding: 0 .2em }
@media print {
  body { max-width: none; font-size: 11px } figure, table { break-inside: avoid } h2 { break-after: avoid }
}
"""


def need_matplotlib(what: str = "plot", otherwise: str = "") -> None:
    """Raise `BadInput` unless pictures can be drawn; asked before any work is done.

    Parameters
    ----------
    what : str
        What needs them: the text begins with it.
    otherwise : str
        What can be done without it: the text ends with it.

    Examples
    --------
    >>> need_matplotlib("report", ", or leave it out")    # doctest: +SKIP
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise BadInput(
            f"{what}: matplotlib is not installed ({error}): pip install 'shotsieve[plot]'{otherwise}"
        ) from error


def new_figure(width: float, height: float, what: str = "plot") -> Figure:
    """Return an empty figure that no window system and no other program's settings see.

    Parameters
    ----------
    width, height : float
        In inches.
    what : str
        As in `need_matplotlib`.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    BadInput
        If matplotlib is not installed.

    Examples
    --------
    >>> new_figure(4, 3).subplots()    # doctest: +SKIP
    """
    need_matplotlib(what)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def colours() -> Any:
    """Return the colours of values, with grey where there is none.

    Examples
    --------
    >>> colours().name    # doctest: +SKIP
    'viridis'
    """
    import matplotlib

    return matplotlib.colormaps["viridis"].with_extremes(bad=MASKED)


def image(figure: Figure, text: str, dpi: int = 100) -> str:
    """Return a figure as an HTML image that needs no other file; the same figure gives the same text.

    Parameters
    ----------
    figure : matplotlib Figure
    text : str
        What it shows, for those who do not see it.
    dpi : int

    Examples
    --------
    >>> image(new_figure(4, 3), "nothing")[:12]    # doctest: +SKIP
    '<img alt="no'
    """
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'


def figure(drawn: Figure, caption: str) -> str:
    """Return an HTML figure: the `image` of a picture over its caption.

    Examples
    --------
    >>> figure(new_figure(4, 3), "nothing")[-41:]    # doctest: +SKIP
    '<figcaption>nothing</figcaption></figure>'
    """
    return f"<figure>{image(drawn, caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def section(title: str, parts: Iterable[str]) -> str:
    """Return a headline over HTML, or nothing where there is nothing to stand below it.

    Examples
    --------
    >>> section("a < b", ["<p>text</p>"]), section("a < b", [])
    ('<h2>a &lt; b</h2>\\n<p>text</p>', '')
    """
    inner = "\n".join(parts)
    return f"<h2>{escape(title)}</h2>\n{inner}" if inner else ""


def page(title: str, body: str, style: str = "") -> str:
    """Return a whole HTML page that needs no network, no script and no other file.

    Parameters
    ----------
    title : str
    body : str
        HTML.
    style : str
        CSS, beside that of every page.

    Examples
    --------
    >>> page("a < b", "<p>text</p>").splitlines()[0]
    '<!doctype html>'
    """
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}{style}</style></head><body>\n'
        f"{body}\n<p class=note>shotsieve {__version__}</p>\n</body></html>\n"
    )


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], numbers: Sequence[int] = ()) -> str:
    """Return an HTML table of texts as they are.

    Parameters
    ----------
    head : sequence
        Names of the columns; empty for none.
    rows : iterable of sequence
    numbers : sequence of int
        Columns whose cells are of the class ``n``.

    Examples
    --------
    >>> table((), [["a < b", 2]], numbers=[1])
    '<table><tr><td>a &lt; b</td><td class=n>2</td></tr></table>'
    """
    lines = ["".join(f"<th>{escape(str(cell))}</th>" for cell in head)] if head else []
    lines += [
        "".join(
            f"<td{' class=n' if at in numbers else ''}>{escape(str(cell))}</td>"
            for at, cell in enumerate(row)
        )
        for row in rows
    ]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def write_whole(path: Path, content: str | Callable[[BinaryIO], Any], what: str) -> Path:
    """Write a file that stands at its name when it is complete, and replaces one of that name.

    Parameters
    ----------
    path : Path
    content : str or callable
        A text, written as UTF-8 with its line ends as they are, or what is called with the open file.
    what : str
        What the error calls it.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        If the disk refuses; what stood at `path` stands there still, and nothing lies beside it.

    Examples
    --------
    >>> write_whole(Path("page.html"), "<p>text</p>", "the page")    # doctest: +SKIP
    PosixPath('page.html')
    """
    temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        try:
            with open(temporary, "wb") as file:
                if isinstance(content, str):
                    file.write(content.encode("utf-8"))
                else:
                    content(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: {what} cannot be written ({error})") from error
    return path


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all.

    Parameters
    ----------
    figure : matplotlib Figure
    path : Path

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        As `write_whole`.

    Examples
    --------
    >>> save_figure(new_figure(4, 3), Path("nothing.png"))    # doctest: +SKIP
    PosixPath('nothing.png')
    """

    def save(file: BinaryIO) -> None:
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})

    return write_whole(path, save, "the picture")
