"""Build the site into build/site: ``python -m docs.build``, with Sphinx, and check its links.

Sphinx's warnings are errors: a page in no navigation, a link to no page or heading, a name that cannot be documented.
Then every link and every file that the pages load must be in the site, also those that the theme writes; nothing may
come from the network.
"""

import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
SITE = ROOT / "build" / "site"
LOADED = {
    "script": "src",
    "img": "src",
    "link": "href",
    "source": "src",
    "iframe": "src",
}  # what a page loads by itself
START = '<!doctype html><title>bayesmm</title><meta http-equiv="refresh" content="0; url={0}">\n'


class Links(HTMLParser):
    """The links, the loaded files and the anchors of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of what an element names."""
        given = dict(attrs)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag in LOADED and given.get(LOADED[tag]) and given.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(given[LOADED[tag]])


def written(site: Path) -> list[Path]:
    """Return the pages of a site, without the templates that a theme leaves in its folder."""
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.relative_to(site).parts]


def broken(site: Path) -> list[str]:
    """Return the links of a site that lead nowhere in it, and what its pages load from elsewhere."""
    pages = {path.resolve(): Links(path.read_text(encoding="utf-8")) for path in written(site)}
    faults = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        faults += [f"{name} loads {link}" for link in page.loaded if urlsplit(link).netloc]
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].anchors):
                faults.append(f"{name}: {link}")
    return faults


def main() -> int:
    """Build the site; return the exit status."""
    from sphinx.cmd.build import build_main

    shutil.rmtree(SITE, ignore_errors=True)  # or a page that was removed would stay
    arguments = ["-b", "html", "-E", "-W", "--keep-going", "-q", "-j", "auto", "-c", "docs", str(ROOT), str(SITE)]
    status = build_main([*arguments, "-d", str(ROOT / "build" / "site-cache")])
    (SITE / "index.html").write_text(START.format("docs/index.html"), encoding="utf-8")
    faults = broken(SITE)
    print(*[f"broken link: {fault}" for fault in faults], sep="\n", file=sys.stderr, end="\n" if faults else "")
    if status or faults:
        return 1
    print(f"Built: {(SITE / 'index.html').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
