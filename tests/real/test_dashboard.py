"""The dashboard as a person sees it: in a real browser, against three real nodes."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed")

from tests.dashboard.browser import Browser, Page, chromium
from tests.dashboard.running import Dashboard
from tests.real.cluster import Cluster

ROWS = "[...document.querySelectorAll('#window .row:not([hidden])')]"
pytestmark = pytest.mark.skipif(chromium() is None, reason="chromium is not installed")

# For each text on the page, the contrast of its colour with what is behind it (WCAG 2.1).
CONTRASTS = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = colour
    canvas.fillRect(0, 0, 1, 1)
    return [...canvas.getImageData(0, 0, 1, 1).data]
  }
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor)
      if (colour[3] === 255) return colour
    }
    return [255, 255, 255]
  }
  const found = []
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement
    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue
    if (element.closest('script, style, noscript')) continue
    const style = getComputedStyle(element)
    const colour = rgba(element instanceof SVGElement ? style.fill : style.color)
    const [high, low] = [light(colour), light(behind(element))].sort((a, b) => b - a)
    found.push([(high + 0.05) / (low + 0.05), texts.currentNode.data.trim()])
  }
  return found
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("dashboard") / "cluster") as started:
        started.start()
        started.wait_serving()
        yield started


@pytest.fixture(scope="module")
def dashboard(served: Cluster) -> Iterator[Dashboard]:
    with Dashboard(served) as started:
        yield started


@pytest.fixture
def page(browser: Browser, dashboard: Dashboard) -> Iterator[Page]:
    opened = browser.open(dashboard.link)
    opened.wait("document.getElementById('health-words').textContent.includes('are well')")
    yield opened
    assert opened.complaints == []
    browser.close(opened)


def put(cluster: Cluster, key: str | bytes, value: str | bytes = "v", who: str = "admin") -> None:
    with cluster.client(who=who) as kv:
        kv.put(key, value)


def row_of(key: str) -> str:
    """The row that shows this key."""
    return f"{ROWS}.find(r => r.querySelector('.key').textContent === {key!r})"


# -- the log -------------------------------------------------------------------------------------
def test_an_entry_is_seen_within_500_ms_and_then_applied_on_every_node(
    page: Page, served: Cluster
) -> None:
    page.run(f"""(() => {{
        window.seen = {{}}
        const look = () => {{
          for (const row of {ROWS}) seen[row.querySelector('.key').textContent] ??= Date.now()
          requestAnimationFrame(look)
        }}
        look()
    }})()""")
    waits_ms = []
    with served.client() as kv:
        for i in range(7):
            began_ms = time.time() * 1_000
            kv.put(f"soon/{i}", "v")
            waits_ms.append(page.wait(f"seen['soon/{i}']") - began_ms)
    print("seen after (ms)", sorted(round(w) for w in waits_ms))
    assert statistics.median(waits_ms) < 500
    row = row_of("soon/6")
    page.wait(f"{row}.querySelectorAll('.mark.applied').length === 3")
    page.wait(f"{row}.querySelector('.ms').textContent.endsWith('ms')")
    page.wait(f"{row}.querySelector('.revision').textContent !== ''")
    assert page.run(f"{row}.querySelector('.author').textContent") == "admin"
    assert page.run(f"{row}.querySelector('.size').textContent") == "1 B"


def test_filters_let_through_what_begins_so_and_who_wrote_it(page: Page, served: Cluster) -> None:
    put(served, "red/1")
    put(served, "blue/1")
    put(served, "red/2", who="writer")
    page.wait(row_of("red/2"))
    page.type("#filter [name=prefix]", "red/")
    page.wait(f"{ROWS}.length > 1 && !({row_of('blue/1')})")
    page.type("#filter [name=author]", "writer")
    page.wait(f"{ROWS}.length === 1 && {row_of('red/2')}")
    put(served, "red/3", who="writer")
    page.wait(row_of("red/3"))


def test_a_paused_page_stands_still_and_says_how_much_is_newer(page: Page, served: Cluster) -> None:
    put(served, "still/1")
    page.wait(row_of("still/1"))
    page.click("#pause")
    put(served, "still/2")
    page.wait("/[0-9] newer/.test(document.getElementById('log-words').textContent)")
    assert page.run(f"!({row_of('still/2')})")
    page.click("#pause")
    page.wait(row_of("still/2"))


def test_scrolling_down_pauses_and_goes_back_further_than_the_page_had(
    page: Page, served: Cluster
) -> None:
    with served.client() as kv, kv.pipeline() as many:
        for i in range(2_500):
            many.put(f"many/{i}", "v")
    page.wait(row_of("many/2499"))
    page.reload()
    page.wait(row_of("many/2499"))
    page.run("document.getElementById('rows').scrollTop = 1e7")
    page.wait("document.getElementById('pause').textContent === 'Resume'")
    page.wait(
        f"(document.getElementById('rows').scrollTop += 1e6, {row_of('many/3')})",
    )
    assert page.run(f"{ROWS}.length") < 80


# -- a key ---------------------------------------------------------------------------------------
def test_a_value_is_fetched_only_when_somebody_asks(page: Page, served: Cluster) -> None:
    put(served, "looked/at", "the value\nin two lines")
    page.wait(row_of("looked/at"))
    page.run(f"{row_of('looked/at')}.click()")
    page.wait("document.querySelectorAll('#inspect-entry table tr').length === 4")
    assert page.text("#inspect-now") == ""
    page.click("#inspect-form button")
    page.wait("document.querySelector('#inspect-now pre')")
    assert page.text("#inspect-now pre") == "the value\nin two lines"
    assert "Put by" in page.text("#inspect-now")
    assert page.text("#inspect-write") == ""
    page.press("Escape")
    page.wait("!document.getElementById('inspect').open")


def test_keys_and_values_of_strangers_are_shown_and_never_run(page: Page, served: Cluster) -> None:
    put(served, "<img src=x onerror=alert(1)>", b"\x00\x01\xff" * 8)
    put(served, b"\xff\n\\", "v")
    page.wait(row_of("\\xff\\n\\\\"))
    page.wait(row_of("<img src=x onerror=alert(1)>"))
    page.run(f"{row_of('<img src=x onerror=alert(1)>')}.click()")
    page.click("#inspect-form button")
    page.wait("document.querySelector('#inspect-now pre')")
    assert page.text("#inspect-now pre").startswith("000000  00 01 ff 00")
    page.press("Escape")
    page.click("#look-up")
    page.type("#inspect-key", "\\xff\\x0a\\\\")
    page.click("#inspect-form button")
    page.wait("document.querySelector('#inspect-now pre')?.textContent === 'v'")


def test_with_allow_writes_a_key_is_changed_and_deleted_but_not_over_a_change_unseen(
    browser: Browser, served: Cluster
) -> None:
    put(served, "changed", "before")
    with Dashboard(served, "--allow-writes") as dashboard:
        page = browser.open(dashboard.link)
        page.wait(row_of("changed"))
        page.run(f"{row_of('changed')}.click()")
        page.click("#inspect-form button")
        page.wait("document.querySelector('#inspect-write textarea')")
        put(served, "changed", "by another")
        page.run("document.querySelector('#inspect-write textarea').value = 'lost'")
        page.click("#inspect-write button[type=submit]")
        page.wait(
            "/changed meanwhile/.test(document.querySelector('#inspect-write .wrong').textContent)"
        )
        page.click("#inspect-form button")
        page.wait("document.querySelector('#inspect-write textarea')?.value === 'by another'")
        page.run("document.querySelector('#inspect-write textarea').value = 'mine'")
        page.click("#inspect-write button[type=submit]")
        page.wait("document.querySelector('#inspect-now pre').textContent === 'mine'")
        page.click("#inspect-write button[type=button]")
        page.click("#inspect-write button[type=button]")
        page.wait("/no such key/.test(document.getElementById('inspect-now').textContent)")
        page.complaints = [c for c in page.complaints if "409" not in c]
        assert page.complaints == []
        browser.close(page)
    with served.client() as kv:
        assert kv.get("changed") is None


# -- how it looks, to whom -----------------------------------------------------------------------
def test_all_text_has_the_contrast_of_wcag_aa(page: Page, served: Cluster) -> None:
    put(served, "contrast")
    page.wait(row_of("contrast"))
    page.run(f"{row_of('contrast')}.click()")
    page.click("#inspect-form button")
    page.wait("document.querySelector('#inspect-now pre')")
    for dark in (False, True):
        page.resize(1440, 900, dark=dark)
        contrasts = page.run(CONTRASTS)
        assert len(contrasts) > 60
        assert [c for c in contrasts if c[0] < 4.5] == []


@pytest.mark.parametrize("width", [360, 768])
def test_no_width_makes_the_page_scroll_sideways(
    browser: Browser, dashboard: Dashboard, served: Cluster, width: int
) -> None:
    """A phone widens what it calls the window to what the page demands, little by little."""
    put(served, "long/" + "k" * 2_000)
    page = browser.open(dashboard.link, width, 780)
    page.wait(f"{ROWS}.length > 3 && document.querySelectorAll('.node').length === 3")
    page.wait("document.querySelector('#plot-lag path.a').getAttribute('d').split('L').length > 3")
    assert page.run("innerWidth") == width
    assert page.run("document.documentElement.scrollWidth") <= width
    rows = "document.getElementById('rows')"
    assert page.run(f"{rows}.scrollWidth <= {rows}.clientWidth")
    browser.close(page)


def test_the_keyboard_reaches_everything_in_order(page: Page, served: Cluster) -> None:
    put(served, "reached")
    page.wait(row_of("reached"))
    reached = []
    for _ in range(7):
        page.press("Tab")
        reached.append(page.run("(e => e.id || e.name || e.className)(document.activeElement)"))
        assert page.run(
            "(s => s.outlineStyle !== 'none' && s.outlineWidth !== '0px')"
            "(getComputedStyle(document.activeElement))"
        ), reached
    assert reached[:6] == ["skip", "theme", "prefix", "author", "look-up", "pause"]
    assert reached[6].startswith("row")
    page.press("Tab", shift=True)
    page.press("Tab")
    page.press("ArrowDown")
    assert page.text("#pause") == "Resume"
    page.press("Enter")
    page.wait("document.getElementById('inspect').open")


def test_the_chosen_colours_stay_after_a_reload(page: Page) -> None:
    before = page.run("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    after = page.run("getComputedStyle(document.body).backgroundColor")
    page.reload()
    assert page.run("getComputedStyle(document.body).backgroundColor") == after != before
    page.click("#theme")


# -- what goes wrong, in words -------------------------------------------------------------------
def test_a_dead_leader_and_the_election_after_it_are_seen(page: Page, served: Cluster) -> None:
    leader = served.leader()
    words = "document.getElementById('health-words').textContent"
    page.wait(f"{words}.startsWith({leader!r})")
    served.kill(leader)
    page.wait(f"{words}.includes('{leader} does not answer') && !{words}.startsWith({leader!r})")
    page.wait("/1 election seen/.test(document.getElementById('terms-words').textContent)")
    page.wait("document.querySelectorAll('#terms li').length >= 2")
    page.wait("document.querySelector('.node.silent .why').textContent.includes('nothing answers')")
    put(served, "after/the/election")
    page.wait(f"{row_of('after/the/election')}.querySelectorAll('.mark.applied').length === 2")
    served.start(leader)
    page.wait(f"{words}.includes('are well')")
    page.wait(f"{row_of('after/the/election')}.querySelectorAll('.mark.applied').length === 3")


def test_without_a_majority_it_says_that_nobody_leads(page: Page, served: Cluster) -> None:
    words = "document.getElementById('health-words').textContent"
    gone = [n for n in served.names if n != served.leader()]
    for name in gone:
        served.kill(name)
    page.wait(f"{words}.startsWith('Nobody leads')")
    page.wait(f"{words}.includes('{gone[0]}, {gone[1]} do not answer')")
    served.start(*gone)
    page.wait(f"{words}.includes('are well')")


def test_a_certificate_that_may_not_is_told_so(browser: Browser, served: Cluster) -> None:
    with Dashboard(served, who="reader") as dashboard:
        page = browser.open(dashboard.link)
        page.wait(
            "/refuses this dashboard/.test(document.getElementById('health-words').textContent)"
        )
        assert "admin" in page.text("#health-words")
        browser.close(page)


def test_a_page_says_when_its_dashboard_is_gone_and_finds_it_again(
    browser: Browser, served: Cluster
) -> None:
    secret = "the same after a restart"
    with Dashboard(served, secret=secret) as dashboard:
        page = browser.open(dashboard.link)
        page.wait("document.getElementById('health-words').textContent.includes('are well')")
    page.wait("/has lost the dashboard/.test(document.getElementById('trouble').textContent)")
    with Dashboard(served, secret=secret, port=dashboard.port):
        page.wait("document.getElementById('trouble').hidden")
        page.wait("document.getElementById('health-words').textContent.includes('are well')")
    with Dashboard(served, port=dashboard.port):
        page.wait("/open the link/.test(document.getElementById('trouble').textContent)")
    browser.close(page)


# -- the command ---------------------------------------------------------------------------------
def test_it_ends_in_order_although_a_page_is_open(browser: Browser, served: Cluster) -> None:
    with Dashboard(served) as dashboard:
        page = browser.open(dashboard.link)
        page.wait("document.getElementById('health-words').textContent.includes('are well')")
        began = time.monotonic()
        assert dashboard.stop() == 0
        assert time.monotonic() - began < 5
        assert "Traceback" not in dashboard.lines
        browser.close(page)


def run_ctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.ctl", *arguments], capture_output=True, text=True, timeout=30
    )


def test_a_port_that_is_taken_is_a_sentence(dashboard: Dashboard, served: Cluster) -> None:
    credentials = [f"--{name}={path}" for name, path in served.client_options().items()]
    listen = f"--listen=127.0.0.1:{dashboard.port}"
    done = run_ctl("--endpoint", served.endpoints()[0], *credentials, "dashboard", listen)
    assert done.returncode == 2
    assert "choose another" in done.stderr


def test_without_aiohttp_the_command_says_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "aiohttp.py").write_text("raise ModuleNotFoundError(name='aiohttp')\n")
    done = subprocess.run(
        [sys.executable, "-m", "cli.ctl", "--insecure", "--endpoint=127.0.0.1:1", "dashboard"],
        capture_output=True,
        text=True,
        timeout=30,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
    )
    assert done.returncode == 2
    assert "pip install 'dkv[dashboard]'" in done.stderr
