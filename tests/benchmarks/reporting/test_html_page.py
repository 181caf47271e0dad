"""The page of leaderboards in a real browser; skipped where there is no Chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.reporting.html_page import render_page
from benchmarks.reporting.rows import leaderboard_rows
from tests.support.made_up_records import made_up_record

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1400,1000"),
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("there is no Chromium with its driver")
    records = [made_up_record()]
    records[0][0]["model"]["name"] = "<b>hostile</b></script>"
    boards = {name: leaderboard_rows(name, [record for record, _ in records]) for name in PROTOCOLS}
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(render_page(boards, records))
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in _OPTIONS:
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.get(f"file://{path}")
    yield driver
    driver.quit()


@pytest.fixture(autouse=True)
def _start_again(browser: Any) -> None:
    browser.refresh()


def texts(browser: Any, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map(node => node.textContent)"
    found: list[str] = browser.execute_script(script, selector)
    return found


def click(browser: Any, selector: str) -> None:
    browser.find_element("css selector", selector).click()


def choose(browser: Any, selector: str, value: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("css selector", selector)).select_by_value(value)


def numbers(browser: Any, column: str) -> list[float]:
    place = texts(browser, "thead th").index(column) + 1
    return [float(text.split("±")[0]) for text in texts(browser, f"tbody td:nth-child({place})") if text]


def test_nothing_is_wrong_and_names_are_text(browser: Any) -> None:
    assert browser.get_log("browser") == []
    assert "<b>hostile</b></script>" in texts(browser, "td.model")
    assert not browser.find_elements("css selector", "td.model b")
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_hostile_texts_and_partial_rows(browser: Any, tmp_path: Path) -> None:
    records = [made_up_record(), made_up_record()]
    hostile = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
    for number, (record, _) in enumerate(records):
        record["run_id"] = f"run{number}"
        record["command"] = record["environment"]["torch"] = record["model"]["name"] = hostile
    records[0][0]["networks"] = {"test": 500, "wide": 100, "deep": 100, "dense": 100, "bnfree": 100}
    for result in records[1][0]["results"].values():
        result["top1"]["mean"] = 1.0
    path = tmp_path / "index.html"
    rows = leaderboard_rows("no_finetune", [record for record, _ in records])
    path.write_text(render_page({"no_finetune": rows}, records))
    before = browser.current_url
    browser.get(f"file://{path}")
    title = browser.title
    choose(browser, "#dataset", "digits")
    choose(browser, "#metric", "top1")
    assert texts(browser, "td.networks") == ["900", "12 of 900"]
    assert numbers(browser, "test")[1] == 100
    assert len(browser.find_elements("css selector", "tr:first-child td.best")) == 2
    assert not browser.find_elements("css selector", "tr:nth-child(2) td.best")
    assert texts(browser, ".partial") == ["partial"]
    click(browser, "[data-sort=test]")
    assert texts(browser, "td.networks") == ["900", "12 of 900"]  # although it has the higher number
    click(browser, "tr.measured td.model")
    assert hostile in texts(browser, "dd")
    assert not browser.find_elements("css selector", "td img, dd img")
    assert (browser.title, browser.get_log("browser")) == (title, [])
    browser.get(before)


def test_sorting(browser: Any) -> None:
    choose(browser, "#dataset", "cifar10")
    before = numbers(browser, "bnfree")
    assert before != sorted(before, reverse=True)
    click(browser, "[data-sort=bnfree]")
    assert numbers(browser, "bnfree") == sorted(before, reverse=True)
    assert browser.find_element("css selector", "th[aria-sort]").get_attribute("aria-sort") == "descending"
    click(browser, "[data-sort=bnfree]")
    assert numbers(browser, "bnfree") == sorted(before)
    click(browser, "[data-sort=model]")
    names = texts(browser, "td.model")
    assert names[0].startswith("GHN-1")
    assert names[-1] == "MLP"


def test_missing_values_come_last(browser: Any) -> None:
    choose(browser, "#metric", "top1")
    for _ in range(2):
        click(browser, "[data-sort=torchvision74]")
        place = texts(browser, "thead th").index("torchvision74") + 1
        cells = texts(browser, f"tbody td:nth-child({place})")
        filled = [bool(cell) for cell in cells]
        assert filled == sorted(filled, reverse=True)
        assert any(filled)


def test_filters(browser: Any) -> None:
    everything = len(texts(browser, "td.model"))
    browser.find_element("css selector", "#search").send_keys("ghn-3 table 11")
    shown = list(zip(texts(browser, "td.model"), texts(browser, "td.source"), strict=True))
    assert 0 < len(shown) < everything
    assert all("GHN-3" in model + source and "Table 11" in source for model, source in shown)
    assert texts(browser, "#count")[0] == f"{len(shown)} of {everything} rows"
    click(browser, "#published")
    assert texts(browser, "tbody td") == ["Nothing matches."]
    browser.find_element("css selector", "#search").clear()
    browser.refresh()
    click(browser, "#published")
    assert texts(browser, "td.model") == ["<b>hostile</b></script>"] * 2
    choose(browser, "#metric", "top5")
    assert len(texts(browser, "td.model")) == 1


def test_all_settings_are_shown_at_first(browser: Any, tmp_path: Path) -> None:
    records = [made_up_record(), made_up_record()]
    records[1][0]["model"]["orth_layer"] = 5
    path = tmp_path / "index.html"
    rows = leaderboard_rows("no_finetune", [record for record, _ in records])
    path.write_text(render_page({"no_finetune": rows}, records))
    before = browser.current_url
    browser.get(f"file://{path}")
    shown, total = texts(browser, "#count")[0].removesuffix(" rows").split(" of ")
    browser.get(before)
    assert shown == total


def test_tabs_and_details(browser: Any) -> None:
    click(browser, "[data-protocol=transfer]")
    assert "convnext_base" in texts(browser, "thead th")
    assert browser.find_element("css selector", "[aria-selected=true]").text == "transfer"
    click(browser, "[data-protocol=no_finetune]")
    click(browser, "#published")
    choose(browser, "#metric", "top1")
    click(browser, "tr.measured td.model")
    assert len(browser.find_elements("css selector", "svg circle")) == 12  # also of the one that failed
    assert "python -m benchmarks.run" in texts(browser, "dd")
    click(browser, "tr.measured td.model")
    assert not browser.find_elements("css selector", "svg")
