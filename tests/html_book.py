"""Open every page of an HTML book in a headless browser, from the file, at two widths.

numpylm book --html site && python -m tests.html_book site [PAGE ...] [--screenshots FOLDER]

Needs playwright and a Chromium: the one of ``playwright install chromium``, or one on the PATH.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

WIDTHS = {"laptop": (1280, 800), "phone": (390, 844)}
PATIENCE = 180_000  # milliseconds that a page may take on a busy machine
PIECE = 1600  # height of a screenshot
READY = """async () => {
  if (window.MathJax) await MathJax.startup.promise;
  await document.fonts.ready;
  for (const image of document.images) {
    image.loading = "eager";
    await image.decode().catch(() => 0);
  }
}"""
FOUND = """() => {
  const all = (css) => [...document.querySelectorAll(css)];
  const width = document.documentElement.clientWidth;
  for (const fold of all("details")) fold.open = true;
  const scrolls = (e) => e.tagName != "ARTICLE" && (scrolls(e.parentElement) ||
    getComputedStyle(e).overflowX != "visible" && e.getBoundingClientRect().right <= width + 1);
  return {
    formulas: all(".math").length,
    typeset: all(".math mjx-container").length,
    errors: all(".math").filter((e) => e.querySelector("[data-mml-node=merror], [fill=red]"))
      .map((e) => `formula ${e.querySelector("math")?.textContent ?? ""}`),
    images: document.images.length,
    unseen: [...document.images].filter((i) => !i.naturalWidth).map((i) => i.src),
    unnamed: [...document.images].filter((i) => !/\\s/.test(i.alt)).map((i) => i.src),
    diagrams: all("pre.mermaid").length,
    drawn: all("pre.mermaid svg").filter((s) => s.querySelectorAll(".node").length).length,
    undescribed: all("pre.mermaid svg").filter((s) => !s.querySelector("desc")?.textContent.trim())
      .map((s) => s.textContent.slice(0, 60)),
    raw: all("article p, article li, article td").filter((e) => /\\$.*[\\\\^_].*\\$/.test(
      [...e.childNodes].filter((n) => n.nodeType == 3).map((n) => n.data).join(" "))).map((e) =>
      e.textContent.slice(0, 60)),
    folded: all("details").length,
    empty: all("details").filter((d) => d.scrollHeight < 60).length,
    sources: all(".sources a").length,
    page: Math.max(document.documentElement.scrollWidth, document.body.scrollWidth) - width,
    wide: all("article *").filter((e) => e.getBoundingClientRect().right > width + 1 && !scrolls(e))
      .slice(0, 5).map((e) => `${e.tagName} ${e.textContent.slice(0, 60)}`),
    links: all("a[href]").map((a) => a.href),
  };
}"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("pages", nargs="*", help="part of a page's name (default: every page)")
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER")
    given = parser.parse_args(arguments)
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        print("skipped: playwright is not installed (pip install -e .[book])")
        return 0
    pages = [p for p in sorted(given.site.resolve().glob("*.html")) if p.stem != "search"]
    pages = [p for p in pages if not given.pages or any(word in p.stem for word in given.pages)]
    assert pages, f"no pages in {given.site}"
    problems = 0
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            )
        except Error as error:
            print(f"skipped: no browser ({str(error).splitlines()[0]})")
            return 0
        for name, (width, height) in WIDTHS.items():
            tab = browser.new_page(viewport={"width": width, "height": height})
            tab.set_default_timeout(PATIENCE)
            for path in pages:
                counts, wrong = look(tab, path)
                print(f"{name:6} {path.stem:<30} {counts}", flush=True)
                for line in wrong:
                    print(f"  {line}", flush=True)
                problems += len(wrong)
                if given.screenshots:
                    pictures(tab, given.screenshots, f"{path.stem}-{name}")
        for wrong in search(tab, given.site.resolve()):
            print(wrong)
            problems += 1
        browser.close()
    print(f"{len(pages)} pages at {len(WIDTHS)} widths: {problems} problems")
    return 1 if problems else 0


def look(tab, path: Path) -> tuple[str, list[str]]:
    """(what the page holds, what is wrong with it)."""
    wrong: list[str] = []
    listeners = {
        "console": lambda m: m.type in ("error", "warning") and wrong.append(f"console: {m.text}"),
        "pageerror": lambda e: wrong.append(f"script: {e}"),
        "requestfailed": lambda r: wrong.append(f"not loaded: {r.url}"),
        "request": lambda r: wrong.append(f"external: {r.url}") if is_external(r.url) else None,
    }
    for event, listener in listeners.items():
        tab.on(event, listener)
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-drawn]")
    tab.evaluate(READY)
    found = tab.evaluate(FOUND)
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    counts = (
        f"{found['formulas']:4} formulas {found['images']:3} figures "
        f"{found['diagrams']:2} diagrams {found['folded']:2} folded"
    )
    for what in ("errors", "unseen", "unnamed", "undescribed", "raw", "wide"):
        wrong += [f"{what}: {text}" for text in found[what]]
    for part, whole in (("typeset", "formulas"), ("drawn", "diagrams")):
        if found[part] != found[whole]:
            wrong.append(f"{found[part]} of {found[whole]} {whole} {part}")
    if found["page"] > 0:
        wrong.append(f"the page is {found['page']} pixels wider than the window")
    if found["empty"]:
        wrong.append(f"{found['empty']} folded solutions are empty")
    if (path.parent / "notebooks" / f"{path.stem}.ipynb").exists() and found["sources"] != 2:
        wrong.append("the chapter does not link its sources")
    wrong += [f"dead link: {url}" for url in sorted(set(found["links"])) if is_dead(url)]
    return counts, wrong


def is_external(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))


def is_dead(url: str) -> bool:
    """A link within the book to a file, or a place in it, that is not there."""
    target, anchor = urldefrag(url)
    path = Path(unquote(urlparse(target).path))
    if not target.startswith("file:"):
        return False
    if not path.is_file():
        return True
    return bool(anchor) and f'id="{unquote(anchor)}"' not in path.read_text(encoding="utf-8")


def search(tab, site: Path) -> list[str]:
    """Words, English and Chinese, that the search of the site does not find."""
    wrong = []
    for word in ("softmax", "backpropagation", "自注意力"):
        tab.goto(f"{(site / 'search.html').as_uri()}?q={word}")
        tab.wait_for_selector("#search-results p.search-summary")
        tab.wait_for_timeout(1500)
        said = tab.inner_text("#search-results")
        if not re.search(r"[1-9]\d* page", said):
            wrong.append(f"search for {word}: {said[:80]}")
    return wrong


def pictures(tab, folder: Path, name: str) -> None:
    """The page in pieces, from top to bottom, as NAME-00.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    size = tab.viewport_size
    tab.set_viewport_size({"width": size["width"], "height": PIECE})
    height = tab.evaluate("document.documentElement.scrollHeight")
    for number in range(-(-height // PIECE)):
        tab.evaluate(f"scrollTo({{top: {number * PIECE}, behavior: 'instant'}})")
        tab.screenshot(path=folder / f"{name}-{number:02}.png")
    tab.set_viewport_size(size)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
