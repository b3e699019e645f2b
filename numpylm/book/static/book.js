// Draw the diagrams of a page that has some, with a script that is large.
const here = document.currentScript.src;

async function draw() {
  const diagrams = document.querySelectorAll("pre.mermaid");
  if (!diagrams.length) return;
  const script = document.createElement("script");
  script.src = new URL("mermaid.js", here);
  await new Promise((loaded) => {
    script.onload = loaded;
    document.head.append(script);
  });
  mermaid.initialize({ startOnLoad: false, theme: "neutral" });
  await mermaid.run({ nodes: diagrams });
  for (const svg of document.querySelectorAll("pre.mermaid svg")) {
    svg.style.setProperty("--drawn-width", svg.style.maxWidth);
  }
}

// A formula in the text that is wider than a phone gets a line of its own, which scrolls.
async function unfold() {
  if (!window.MathJax) return;
  await MathJax.startup.promise;
  for (const formula of document.querySelectorAll("mjx-container:not([display])")) {
    const room = formula.closest("p, li, td, article").clientWidth;
    if (formula.getBoundingClientRect().width > room) formula.classList.add("wide");
  }
}

addEventListener("load", async () => {
  try {
    await unfold();
    await draw();
  } finally {
    document.documentElement.dataset.drawn = "yes"; // for tests/html_book.py
  }
});

// A search shows excerpts only where a server lets it read the other pages.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
