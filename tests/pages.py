"""A page of HTML, read for the tests: its elements, tables, headings and text, and what every page must keep to."""

import re
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "img", "br", "hr", "input", "link", "wbr"}


class Page(HTMLParser):
    """A parsed page: every element with its attributes, tables, headings, text."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.tables, self.headings, self.open, self.text = [], [], [], [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.elements.append((tag, given))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append({"caption": "", "headers": [], "rows": [], "scopes": []})
        elif tag == "tr" and "tbody" in self.open:
            self.tables[-1]["rows"].append([])
        elif tag in ("th", "td") and "tbody" in self.open:
            self.tables[-1]["rows"][-1].append("")
        elif tag in ("th", "td") and "thead" in self.open:
            self.tables[-1]["headers"].append("")
        elif re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), given.get("id")))
        if tag == "th":
            self.tables[-1]["scopes"].append(given.get("scope"))

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if "caption" in self.open:
            self.tables[-1]["caption"] += data
        elif "tbody" in self.open and ("td" in self.open or "th" in self.open):
            self.tables[-1]["rows"][-1][-1] += data
        elif "thead" in self.open and ("td" in self.open or "th" in self.open):
            self.tables[-1]["headers"][-1] += data

    def table(self, caption):
        """Return the rows of the tables of this caption by their first cell, as header -> cell."""
        found = [table for table in self.tables if table["caption"].startswith(caption)]
        assert found, [table["caption"] for table in self.tables]
        return {row[0]: dict(zip(found[0]["headers"], row, strict=True)) for row in found[0]["rows"]}


def page_of(path):
    return Page(path.read_text(encoding="utf-8"))


def inert(page):
    """Assert that the page has no script, no handler and no address outside itself."""
    assert not page.open
    for tag, attributes in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form"), tag
        for key, value in attributes.items():
            assert not key.startswith("on"), (tag, key)
            if key in ("src", "srcset", "data", "action", "background", "poster"):
                assert tag == "img" and key == "src" and re.match("data:image/(webp|svg[+]xml);base64,", value)
            if key == "href":
                assert value.startswith("#"), value
    policy = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policy) == 1 and policy[0].startswith("default-src 'none';")


def accessible(page):
    """Assert headings in order, a text for each picture, headers with a scope for each table."""
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for tag, a in page.elements if tag == "a"} <= set(ids)
    images = [a for tag, a in page.elements if tag == "img"]
    assert images and all(len(a["alt"]) > 20 and int(a["width"]) > 0 for a in images)
    assert page.tables and all(
        table["caption"] and table["rows"] and set(table["scopes"]) == {"col", "row"} for table in page.tables
    )
    assert ("html", {"lang": "en"}) in page.elements


def luminance(colour):
    """Return the relative luminance of a colour, "#rrggbb" or "#rgb": WCAG 2.2, section 6."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def same_number(text, value):
    """Return whether a text is this number, rounded to its digits."""
    digits = len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.5001 * 10.0**-digits
