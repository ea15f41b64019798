"""The page in a real headless browser; skipped where there is none."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path

import pytest

from scfm_eval.html.page import write_page
from tests.html import reports

selenium = pytest.importorskip("selenium.webdriver")
WebDriverWait = pytest.importorskip("selenium.webdriver.support.wait").WebDriverWait

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


@pytest.fixture(scope="module")
def browser():
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in paths:
        pytest.skip("no chromium with chromedriver: install Debian's chromium and chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = paths[0]
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(paths[1]))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory):
    asked = os.environ.get("SCFM_EVAL_ARTEFACTS") or os.environ.get("TOX_ENV_DIR")
    folder = Path(asked) / "artefacts" if asked else tmp_path_factory.mktemp("artefacts")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"screenshots of the page: {folder}")
    return folder


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    made = {"small": reports.small(), "hostile": reports.hostile(), "large": reports.large()}
    return {name: write_page([report], folder / f"{name}.html") for name, report in made.items()}


def set_media(browser, *, width=1280, scheme="light"):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def loaded(browser, path, **media):
    set_media(browser, **media)
    browser.get(path.as_uri())
    whole = "return document.readyState === 'complete' && location.href === arguments[0]"
    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(whole, path.as_uri()))


def opened(browser, path, **media):
    """Open the page and scroll past every figure and table, until all of them are drawn."""
    browser.get_log("browser")
    browser.get_log("performance")
    loaded(browser, path, **media)
    browser.execute_async_script(
        """const done = arguments[0], boxes = [...document.querySelectorAll("[data-kind]")];
        const next = (place) => {
          if (place === boxes.length) return done();
          boxes[place].scrollIntoView();
          if (boxes[place].dataset.shown === "done") return next(place + 1);
          setTimeout(next, 20, place);
        };
        next(0);"""
    )


def column(browser, table, place):
    script = "return [...document.querySelectorAll(arguments[0])].map((cell) => cell.textContent)"
    return browser.execute_script(script, f"#{table} tbody td:nth-child({place})")


def test_no_error_and_no_request(browser, pages):
    opened(browser, pages["small"])
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert browser.execute_script("return document.querySelectorAll('[data-kind=chart] svg').length") > 0


def test_a_click_on_a_header_sorts(browser, pages):
    opened(browser, pages["small"])
    head = browser.find_element("css selector", "#r1-scores-annotation thead th:nth-child(2) .dt-column-title")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", head)
    before = column(browser, "r1-scores-annotation", 2)
    browser.execute_script("arguments[0].click()", head)
    after = column(browser, "r1-scores-annotation", 2)
    assert after == sorted(before)
    assert after != before


def test_the_leaderboard_sorts_by_rank(browser, pages):
    opened(browser, pages["small"])
    head = browser.find_element("css selector", "#r1-leaderboard thead th:nth-child(3) .dt-column-title")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", head)
    browser.execute_script("arguments[0].click()", head)
    assert column(browser, "r1-leaderboard", 1) == ["oracle", "pca", "mine", "hvg", "random"]


def test_the_search_box_searches_and_a_filter_filters(browser, pages):
    opened(browser, pages["small"])
    search = browser.find_element("css selector", "#r1-scores-annotation .dt-search input")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", search)
    search.send_keys("oracle")
    assert set(column(browser, "r1-scores-annotation", 2)) == {"oracle"}
    search.clear()
    search.send_keys(" ")
    browser.find_element("css selector", "#r1-scores-annotation thead th:nth-child(1) .dtcc-button_dropdown").click()
    options = browser.find_elements("css selector", "#r1-scores-annotation .dtcc-dropdown .dtcc-list-buttons button")
    assert [option.text for option in options] == ["log_loss", "macro_f1"]
    options[1].click()
    assert set(column(browser, "r1-scores-annotation", 1)) == {"macro_f1"}


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_widths_and_schemes(browser, pages, artefacts, width, scheme):
    opened(browser, pages["small"], width=width, scheme=scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 27)"}[scheme]
    browser.execute_script("scrollTo(0, 0)")
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    path = artefacts / f"page_{width}_{scheme}.png"
    path.write_bytes(base64.b64decode(shot["data"]))
    assert path.stat().st_size > 10_000


def test_strangers_text_runs_nothing(browser, pages):
    opened(browser, pages["hostile"])
    heads = "[id^=r1] thead th:nth-child(1) .dtcc-button_dropdown"
    for button in browser.find_elements("css selector", heads):
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", button)
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert browser.execute_script("return [...document.scripts].filter((one) => one.text === 'alert(1)').length") == 0
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert reports.HOSTILE in column(browser, "r1-leaderboard", 1)


def test_it_prints_with_all_parts_drawn(browser, pages):
    loaded(browser, pages["small"])
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    states = browser.execute_script("return [...document.querySelectorAll('[data-kind]')].map((b) => b.dataset.shown)")
    assert set(states) == {"done"}
    closed = (
        "return [...document.querySelectorAll('main details:not([open])')].filter((d) => !d.closest('.vega-embed'))"
    )
    assert browser.execute_script(closed) == []


def test_two_hundred_models_on_forty_datasets_can_be_used(browser, pages):
    assert pages["large"].stat().st_size < 20e6
    opened(browser, pages["large"])
    search = browser.find_element("css selector", "#r1-scores-annotation .dt-search input")
    search.send_keys("model 123")
    assert set(column(browser, "r1-scores-annotation", 2)) == {"model 123"}
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
