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
  // One that runs from left to right is made narrow, or its words would be shrunk with it.
  const narrow = { wrappingWidth: 140, rankSpacing: 28, padding: 10 };
  const across = [...diagrams].filter((d) => d.textContent.includes("flowchart LR"));
  const others = [...diagrams].filter((d) => !across.includes(d));
  for (const [nodes, flowchart] of [[others, {}], [across, narrow]]) {
    mermaid.initialize({ startOnLoad: false, theme: "neutral", flowchart });
    await mermaid.run({ nodes });
  }
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

// What clings to a formula (a full stop, the "-th" of "k-th") does not begin the next line.
function hold() {
  for (const formula of document.querySelectorAll("span.math")) {
    const next = formula.nextSibling;
    if (next?.nodeType != Node.TEXT_NODE) continue;
    const [mark] = next.data.match(/^(-\w+|[.,;:!?)\]’”])*/);
    next.data = next.data.slice(mark.length);
    (formula.querySelector(".wide") ?? formula).append(mark);
  }
}

// On a phone, a cell that holds a sentence keeps some width; its table scrolls.
function widen() {
  for (const cell of document.querySelectorAll("td")) {
    if (cell.textContent.length > 30) cell.classList.add("prose");
  }
}

addEventListener("load", async () => {
  try {
    widen();
    await unfold();
    hold();
    await draw();
  } finally {
    document.documentElement.dataset.drawn = "yes"; // for tests/html_book.py
  }
});

// A search shows excerpts only where a server lets it read the other pages.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
