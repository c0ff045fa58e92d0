"""Reports in a real browser: nothing is asked for, nothing goes wrong, every picture is seen, a phone needs no scroll.

The screenshots and the printed pages are kept for somebody to look at: in demo/screenshots, which Git ignores, or in
the folder that BAYESMM_SCREENSHOTS names.
"""

import os
import shutil
from pathlib import Path

import matplotlib
import pytest

import bayesmm as bmm

pytestmark = pytest.mark.slow


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PHONE, DESK = (390, 844), (1280, 900)  # CSS pixels
MODELS = {
    "sleepstudy": ("Reaction ~ Days + (Days | Subject)", "gaussian"),
    "esoph": ("ncases ~ ncontrols + (1 + ncontrols | agegp)", "poisson"),
    "immune": ("IgG ~ Sex*Time + (1+Time|FamID) + (1+Time|Sex:IndID)", "gaussian"),
}
# Every place where the contents are wider than the screen, but for those that scroll within themselves.
TOO_WIDE = """() => [...document.querySelectorAll('body *')].filter(element => {
    if (element.getBoundingClientRect().right <= innerWidth + 1) return false;
    for (let outer = element.parentElement; outer; outer = outer.parentElement)
        if (getComputedStyle(outer).overflowX !== 'visible') return false;
    return true;
}).map(element => `${element.tagName} ${element.textContent.slice(0, 40)}`)"""
PICTURES = "() => [...document.images].map(image => image.complete && image.naturalWidth > 0)"


@pytest.fixture(scope="module")
def browser():
    """Return a headless Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("there is no Chromium on this machine: scripts/setup-browser installs one")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        # without its own sandbox, which an administrator's account may not use; the pages are ours and run no script
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module", params=[*MODELS, "two fits"])
def report(request, tmp_path_factory):
    """Return the name of a report and its file."""
    matplotlib.use("Agg", force=True)
    names = ["sleepstudy", "sleepstudy"] if request.param == "two fits" else [request.param]
    fits = [
        bmm.fit(MODELS[name][0], bmm.load_dataset(name), MODELS[name][1], seed=i, progress=False)
        for i, name in enumerate(names)
    ]
    path = tmp_path_factory.mktemp("browser") / "report.html"
    return request.param, bmm.report(fits, path, comparisons=[fit.compare(consistency=False) for fit in fits])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_a_report_is_whole_in_a_browser(browser, report, size, scheme):
    name, path = report
    said, asked = [], []
    context = browser.new_context(
        viewport=dict(zip(("width", "height"), size, strict=True)), color_scheme=scheme, is_mobile=size == PHONE
    )
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri(), wait_until="load")
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    pictures = page.evaluate(PICTURES)
    assert len(pictures) >= 8 and all(pictures)
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    sections = page.locator("main section").count()
    assert sections == (11 if name != "two fits" else 23)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(23, 24, 27)"}[scheme]
    page.screenshot(path=str(screenshots() / f"{name}-{size[0]}-{scheme}.png"), full_page=True)
    context.close()


def test_in_print_no_figure_is_cut_and_what_is_folded_is_open(browser, report):
    name, path = report
    page = browser.new_page(viewport={"width": 680, "height": 1000})  # the text of an A4 page, in CSS pixels
    page.goto(path.as_uri())
    page.emulate_media(media="print")
    heights = page.evaluate("[...document.querySelectorAll('figure')].map(figure => figure.offsetHeight)")
    assert max(heights) < 26.7 / 2.54 * 96  # of A4 with margins of 15 mm
    assert page.evaluate("[...document.images].every(image => image.getBoundingClientRect().right <= innerWidth)")
    assert page.evaluate("getComputedStyle(document.querySelector('figure')).breakInside") == "avoid"
    assert page.evaluate("document.querySelector('details > :last-child').offsetHeight") > 0
    assert not page.locator("nav").first.is_visible()
    page.pdf(path=str(screenshots() / f"{name}.pdf"), format="A4")
    page.close()


def screenshots():
    """Return the folder of the screenshots, made if it is not there."""
    folder = Path(os.environ.get("BAYESMM_SCREENSHOTS", Path(__file__).parents[2] / "demo" / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_the_probe_sees_what_is_too_wide_and_what_is_not_decoded(browser, tmp_path):
    path = tmp_path / "bad.html"
    path.write_text("<div style='width: 2000px'>wide</div><img src='data:image/png;base64,AAAA' alt='broken'>")
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(path.as_uri())
    assert page.evaluate(TOO_WIDE) == ["DIV wide"]
    assert page.evaluate(PICTURES) == [False]
    page.close()
