"""What tests look for in a page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """Text of a page and its images, once the tags are known to be closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open, self.text, self.images, self.links = [], [], [], []
        self.feed(path.read_text("utf-8"))
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "img":
            self.images.append(given)
        self.links += [given[key] for key in ("href", "src") if key in given]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def pictures_drawn(page: Path, browser, folder: Path) -> list[tuple[bool, int, int]]:
    """Whether a browser has drawn each image of a page, its width, and how wide it is on the page."""
    # The page itself has no script: a copy says how large each of its pictures was drawn.
    probe = (
        "<script>window.onload = () => { document.title = JSON.stringify("
        "[...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth])); }</script></body>"
    )
    copy = folder / "probe.html"
    copy.write_text(page.read_text("utf-8").replace("</body>", probe), "utf-8")
    return json.loads(re.search(r"<title>(\[.*?\])</title>", browser(copy.as_uri()))[1])
