"""The page in a real browser: nothing breaks, nothing is asked for, everything can be used."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from ecgconsole.workspace import Workspace

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass
class Seen:
    """What a page said and asked for while it was open."""

    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, reported: Workspace) -> Iterator:
    """Opens the report; at the end nothing may have been complained of or asked for."""
    contexts, seen = [], Seen()

    def open_page(width: int = 1200, scheme: str = "light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: seen.console.append(message.text))
        page.on("pageerror", lambda error: seen.console.append(str(error)))
        page.on("request", lambda request: seen.requests.append(request.url))
        page.goto(reported.report.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert seen.console == []
    assert {url for url in seen.requests if not url.startswith("data:")} == {reported.report.as_uri()}


def pixels(page) -> str:
    return page.evaluate("document.querySelector('#map-figure canvas').toDataURL()")


def status(page) -> str:
    return page.inner_text("#map-figure .status")


def nearest_point(page) -> tuple[float, float]:
    """Where on the screen a point of the map is: a coloured pixel of the canvas, nearest its middle."""
    box = page.locator("#map-figure canvas").bounding_box()
    x, y = page.evaluate(
        """() => {
          const canvas = document.querySelector('#map-figure canvas');
          const { width, height } = canvas;
          const data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
          let best = null, least = Infinity;
          for (let y = 0; y < height; y += 2) for (let x = 0; x < width; x += 2) {
            const d = (x - width / 2) ** 2 + (y - height / 2) ** 2;
            if (data[4 * (y * width + x) + 3] > 120 && d < least) { least = d; best = [x / width, y / height]; }
          }
          return best;
        }"""
    )
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def test_colours_of_the_map_change_with_their_legend(visit):
    page = visit()
    page.locator("#map-figure").scroll_into_view_if_needed()
    names = page.locator("#map-colour option").all_inner_texts()
    assert {"Pattern", "Split", "Heart rate"} <= set(names)
    drawn = set()
    for name in names:
        page.select_option("#map-colour", label=name)
        assert page.get_attribute("#map-figure", "data-colour") == name
        assert page.locator("#map-figure .keys li").count() >= 1
        drawn.add(pixels(page))
    assert len(drawn) == len(names)
    before = pixels(page)
    page.select_option("#map-layout", "components")
    assert pixels(page) != before


def test_a_pattern_is_emphasised_from_the_legend_and_let_go(visit):
    page = visit()
    before, first = pixels(page), page.locator("#map-figure .keys button").first
    first.click()
    assert first.get_attribute("aria-pressed") == "true"
    assert pixels(page) != before
    first.click()
    assert first.get_attribute("aria-pressed") == "false"
    assert pixels(page) == before


def test_pointing_at_a_segment_says_what_it_is(visit):
    page = visit()
    canvas = page.locator("#map-figure canvas")
    canvas.scroll_into_view_if_needed()
    hint = status(page)
    page.mouse.move(*nearest_point(page))
    words = status(page)
    assert re.search(r"Pattern: .+ · Split: .+ · .*Heart rate: (\d+ /min|not known)", words)
    assert page.locator("#map-figure .tip").is_visible()
    assert page.inner_text("#map-figure .tip").splitlines()[0] in words
    page.mouse.move(5, 5)
    assert status(page) == hint
    assert not page.locator("#map-figure .tip").is_visible()


def test_the_map_zooms_by_button_wheel_and_key_and_comes_back(visit):
    page = visit()
    canvas = page.locator("#map-figure canvas")
    canvas.scroll_into_view_if_needed()
    whole = pixels(page)
    page.click("#map-in")
    assert float(page.get_attribute("#map-figure", "data-zoom")) == 1.5
    assert pixels(page) != whole
    page.click("#map-reset")
    assert pixels(page) == whole
    canvas.focus()
    page.keyboard.press("+")
    zoomed = pixels(page)
    page.keyboard.press("ArrowRight")
    assert pixels(page) != zoomed
    page.keyboard.press("0")
    assert pixels(page) == whole
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 30)
    page.mouse.wheel(0, -200)
    assert float(page.get_attribute("#map-figure", "data-zoom")) > 1


def test_the_map_can_be_read_by_keyboard_alone(visit):
    page = visit()
    page.locator("#map-figure canvas").focus()
    read = []
    for _ in range(3):
        page.keyboard.press("n")
        read.append(status(page))
    assert all(words.startswith("Pattern: ") for words in read)
    page.keyboard.press("Escape")
    assert "Point at one" in status(page)


def test_the_wheel_scrolls_the_page_while_the_map_is_not_in_use(visit):
    page = visit()
    canvas = page.locator("#map-figure canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, 300)
    page.wait_for_function("before => scrollY > before", arg=before)
    assert page.get_attribute("#map-figure", "data-zoom") is None


def background(page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_theme_follows_the_system_until_it_is_chosen(visit):
    light, dark = visit(scheme="light"), visit(scheme="dark")
    of_light, of_dark = background(light), background(dark)
    assert of_light != of_dark
    drawn = pixels(light)
    assert light.inner_text("#theme") == "Theme: auto"
    light.click("#theme")
    assert background(light) == of_light
    light.click("#theme")
    assert light.inner_text("#theme") == "Theme: dark"
    assert background(light) == of_dark
    assert pixels(light) != drawn
    light.click("#theme")
    assert background(light) == of_light


CONTRAST = """() => {
  const parse = (c) => c.match(/[0-9.]+/g).map(Number);
  const light = (c) => {
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = c.slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll('main *, header *, nav *, footer *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest('[hidden], script, style, noscript') || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const ink = parse(e.namespaceURI.includes('svg') ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(e.tagName + '.' + (e.className.baseVal ?? e.className) + ' ' + ratio.toFixed(2));
  }
  return [...new Set(found)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(visit, scheme):
    """WCAG 2.1, 1.4.3: 4.5 to 1."""
    page = visit(scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate(CONTRAST) == []
    page.evaluate("document.documentElement.style.setProperty('--muted', '#888')")
    assert page.evaluate(CONTRAST) != []


@pytest.mark.parametrize("width", [320, 360, 768, 1200])
def test_no_page_is_wider_than_its_screen(visit, width):
    page = visit(width=width)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_paper_everything_is_open_light_and_without_buttons(visit):
    page = visit(scheme="dark")
    folded = page.locator("details:not([open])").count()
    assert folded > 3
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("details:not([open])").count() == 0
    assert background(page) == "rgb(255, 255, 255)"
    for hidden in ("nav.contents", "#map-figure .controls"):
        assert not page.locator(hidden).is_visible()
    page.emulate_media(media="screen", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() == folded
    assert page.inner_text("#theme") == "Theme: auto"
    assert page.pdf()[:5] == b"%PDF-"


def test_headings_and_links_lead_through_the_page(visit):
    page = visit()
    levels = [int(tag[1]) for tag in page.eval_on_selector_all("h1,h2,h3,h4", "es => es.map(e => e.tagName)")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    targets = page.eval_on_selector_all("nav a", "es => es.map(e => e.getAttribute('href'))")
    assert len(targets) == page.locator("main section").count()
    assert all(page.locator(target).count() == 1 for target in targets)
    ids = page.eval_on_selector_all("[id]", "es => es.map(e => e.id)")
    assert len(ids) == len(set(ids))
    unnamed = page.eval_on_selector_all(
        "button, select, canvas, svg[role=img]",
        "es => es.filter(e => !(e.ariaLabel || e.textContent.trim() || e.closest('label'))).length",
    )
    assert unnamed == 0
