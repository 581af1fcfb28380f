"""How the page looks, and the little it does by itself.

Contrasts are at least 4.5 to 1 for text, on light and on dark; colour never says anything alone.
"""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fdfcfa; --raised: #ffffff; --ink: #1d232b; --soft: #58616d; --rule: #e2dfd8;
  --better: #0b6e4f; --worse: #b3261e; --unsure: #8a5a00; --accent: #24558f; --tint: #eef3f9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --raised: #1b1f25; --ink: #e8e6e1; --soft: #a3abb6; --rule: #323843;
    --better: #57c79a; --worse: #ff8a80; --unsure: #e5b45b; --accent: #8ab8f0; --tint: #1d2733;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
html { scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans",
    "Noto Sans CJK SC", sans-serif;
}
.skip { position: absolute; left: -999px; }
.skip:focus { left: 1rem; top: 1rem; background: var(--raised); padding: .5rem 1rem; z-index: 2; }
header, main, footer { max-width: 54rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 3.5rem; }
.over { color: var(--soft); font-size: .82rem; letter-spacing: .06em; text-transform: uppercase; }
h1 { font-size: 2rem; line-height: 1.25; margin: .3rem 0 1.2rem; font-weight: 650;
  letter-spacing: -.015em; }
h2 { font-size: 1.3rem; margin: 3.2rem 0 .6rem; letter-spacing: -.01em; }
h3 { font-size: 1rem; margin: 1.8rem 0 .4rem; }
p { margin: .5rem 0 .9rem; max-width: 44rem; }
a { color: var(--accent); text-underline-offset: .15em; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.verdict { border-left: 5px solid var(--unsure); background: var(--raised); padding: 1rem 1.3rem;
  border-radius: 0 8px 8px 0; font-size: 1.12rem; max-width: none; box-shadow: 0 1px 3px #0001; }
.verdict.better { border-color: var(--better); } .verdict.worse { border-color: var(--worse); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: .8rem;
  margin: 1.3rem 0 0; padding: 0; list-style: none; }
.cards li { background: var(--raised); border: 1px solid var(--rule); border-radius: 8px;
  padding: .8rem 1rem; }
.cards .what { color: var(--soft); font-size: .82rem; display: block; }
.cards .much { font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.cards .more { display: block; color: var(--soft); font-size: .82rem; }
nav ol { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: .8rem 0;
  margin: 1.6rem 0 0; border-block: 1px solid var(--rule); font-size: .92rem; }
.notes { padding-left: 1.1rem; color: var(--soft); } .notes li { margin: .25rem 0; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; color: var(--soft); font-size: .86rem; padding-bottom: .5rem; }
th, td { padding: .42rem .8rem .42rem 0; border-bottom: 1px solid var(--rule); text-align: left;
  vertical-align: top; font-weight: 400; }
thead th { color: var(--soft); font-size: .82rem; border-bottom-width: 2px; }
tbody th { font-weight: 550; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.number small, td small { color: var(--soft); display: block; font-size: .76rem; }
tr:hover > * { background: var(--tint); }
.best { font-weight: 650; }
.better { color: var(--better); } .worse { color: var(--worse); }
.verdict.better, .verdict.worse { color: var(--ink); }
figure { margin: 1.2rem 0; } figcaption { color: var(--soft); font-size: .86rem; }
figcaption strong { color: var(--ink); font-weight: 600; }
svg { width: 100%; height: auto; display: block; overflow: visible; }
svg text { fill: var(--ink); font-size: 13px; font-family: inherit; }
svg .tick { fill: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--rule); } svg .axis { stroke: var(--soft); }
svg .level { stroke: var(--soft); stroke-dasharray: 4 4; }
svg .whisker { stroke: var(--accent); stroke-width: 2; }
svg .dot { fill: var(--accent); stroke: var(--accent); }
svg .hollow { fill: var(--paper); stroke: var(--accent); stroke-width: 2; }
svg .ring { fill: none; stroke: var(--ink); stroke-width: 1.5; }
svg .curve { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; }
svg .curve.faint { opacity: .35; stroke-width: 1.2; }
svg .area.better { fill: var(--better); } svg .area.worse { fill: var(--worse); }
svg .better { stroke: var(--better); } svg .worse { stroke: var(--worse); }
svg .dot.better { fill: var(--better); } svg .dot.worse { fill: var(--worse); }
dl { margin: .4rem 0; font-size: .92rem; }
dl > div { display: grid; grid-template-columns: minmax(9rem, 14rem) 1fr; gap: .2rem 1rem;
  padding: .22rem 0; border-bottom: 1px solid var(--rule); }
dl > div:last-child { border-bottom: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere;
  font-variant-numeric: tabular-nums; }
dl dl > div { grid-template-columns: minmax(7rem, 11rem) 1fr; }
pre { overflow-x: auto; font-size: .82rem; line-height: 1.45; color: var(--soft); }
details { border-bottom: 1px solid var(--rule); padding: .3rem 0; }
summary { cursor: pointer; display: flex; gap: .8rem; align-items: baseline; }
summary::-webkit-details-marker { display: none; }
summary::before { content: "+"; color: var(--soft); width: .8rem; flex: none; }
details[open] > summary::before { content: "−"; }
.query, .passage, td, th, dd, li { unicode-bidi: isolate; }
summary .query { flex: 1; overflow-wrap: anywhere; }
summary .why { color: var(--soft); font-size: .84rem; text-align: right; }
.inside { padding: .2rem 0 .8rem 1.6rem; font-size: .92rem; }
.passage { color: var(--soft); margin: .2rem 0; overflow-wrap: anywhere; }
.tag { border: 1px solid var(--rule); border-radius: 99px; padding: 0 .5rem; font-size: .76rem;
  color: var(--soft); }
.filter { display: flex; gap: .6rem; align-items: baseline; margin: .8rem 0; font-size: .92rem; }
.filter input { font: inherit; color: inherit; background: var(--raised); flex: 1; max-width: 24rem;
  border: 1px solid var(--soft); border-radius: 6px; padding: .3rem .6rem; }
footer { color: var(--soft); font-size: .84rem; padding-block: 3rem 4rem; }
@media (max-width: 40rem) {
  dl > div { grid-template-columns: 1fr; } h1 { font-size: 1.6rem; }
  figure { overflow-x: auto; } svg { min-width: 36rem; }
}
@media print {
  :root { --paper: #fff; --raised: #fff; --ink: #000; --soft: #444; --rule: #ccc;
    --better: #0b6e4f; --worse: #b3261e; --unsure: #8a5a00; --accent: #24558f; --tint: #fff; }
  body { font-size: 10.5pt; } nav, .filter, .skip { display: none; }
  header, main, footer { max-width: none; padding: 0; }
  figure, tr, details, .cards li { break-inside: avoid; } h2 { break-after: avoid; }
  .verdict, .cards li { box-shadow: none; border: 1px solid #999; }
  .verdict { border-left-width: 5px; }
  a { color: inherit; text-decoration: none; }
}
"""

# Filters the worst queries, and opens them all for paper. Without it everything is there as well.
SCRIPT = """
const field = document.getElementById("filter");
const rows = [...document.querySelectorAll("#worst details")];
if (field) {
  field.closest(".filter").hidden = false;
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
let closed = [];
addEventListener("beforeprint", () => {
  closed = rows.filter((row) => !row.open);
  for (const row of closed) row.open = true;
});
addEventListener("afterprint", () => { for (const row of closed) row.open = false; });
"""
