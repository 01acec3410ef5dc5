/** The style sheet of a report's page: light and dark, narrow and wide, and on paper. */
export const REPORT_STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --line: #dde1e7; --text: #1d2330; --soft: #586174; --code: #f0f2f5;
  --link: #1f5fbf;
  --good: #1a7346; --good-fill: #cfead9; --bad: #b3261e; --bad-fill: #f8d4d0;
  --wait: #8a5300; --wait-fill: #f8e3b8; --busy: #2a5db0; --busy-fill: #d3e1f8;
  --quiet: #586174; --quiet-fill: #e3e7ed;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171c; --card: #1c2027; --line: #323842; --text: #e3e6eb; --soft: #a2abba; --code: #262b34;
    --link: #8ab4f8;
    --good: #7fd3a2; --good-fill: #1d4a33; --bad: #ff9d94; --bad-fill: #5c2622;
    --wait: #f0c36d; --wait-fill: #503a12; --busy: #9cc0fa; --busy-fill: #233f6b;
    --quiet: #a2abba; --quiet-fill: #343b47;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--text); overflow-wrap: anywhere;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main, header, footer { max-width: 66rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 1.75rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem; }
h1 .id { color: var(--soft); font-weight: 500; }
h2 { font-size: 1.05rem; margin: 0 0 .75rem; }
h3 { font-size: .95rem; margin: 1rem 0 .35rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem 1.1rem; margin: 1rem 0; }
a { color: var(--link); }
p { margin: .35rem 0; }
.text, td, dd, li, summary { unicode-bidi: isolate; }
.text { white-space: pre-wrap; }
.soft { color: var(--soft); }
.small { font-size: .875rem; }
code, pre { font: .8125rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
code { white-space: pre-wrap; }
pre {
  margin: .5rem 0 0; padding: .6rem .75rem; background: var(--code); border-radius: 6px; max-height: 26rem;
  overflow: auto; white-space: pre-wrap; tab-size: 4;
}
.badge {
  display: inline-block; padding: .15rem .65rem; border-radius: .8rem; font-size: .875rem; font-weight: 600;
}
.good { color: var(--good); } .bad { color: var(--bad); } .wait { color: var(--wait); }
.busy { color: var(--busy); } .quiet { color: var(--quiet); }
.badge.good { background: var(--good-fill); } .badge.bad { background: var(--bad-fill); }
.badge.wait { background: var(--wait-fill); } .badge.busy { background: var(--busy-fill); }
.badge.quiet { background: var(--quiet-fill); }
.state { font-weight: 600; white-space: nowrap; }
dl { margin: 0; display: grid; grid-template-columns: fit-content(14rem) minmax(0, 1fr); gap: .3rem 1rem; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; }
dl.facts { font-size: .875rem; margin-top: .75rem; }
ul.tiles { list-style: none; margin: 1rem 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: .75rem; }
.tiles li {
  flex: 1 1 9rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .9rem;
}
.tiles b { display: block; font-size: 1.25rem; line-height: 1.3; font-weight: 600; }
.tiles span { color: var(--soft); font-size: .8125rem; }
table { width: 100%; border-collapse: collapse; }
caption { text-align: left; color: var(--soft); font-size: .875rem; padding-bottom: .4rem; }
th { text-align: left; font-weight: 500; color: var(--soft); font-size: .8125rem; }
th, td { padding: .45rem .75rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child > * { border-bottom: 0; padding-bottom: 0; }
tr.goes-on > td { border-bottom: 0; padding-bottom: 0; }
td > details:first-child { margin-top: 0; }
td.tight { white-space: nowrap; }
.dot { display: inline-block; width: .55rem; height: .55rem; border-radius: 50%; margin-right: .5rem; background: currentcolor; }
td .why { display: block; color: var(--soft); font-size: .875rem; }
details { margin-top: .5rem; }
summary { cursor: pointer; color: var(--link); font-size: .875rem; }
summary:focus-visible, pre:focus-visible, a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
details.wide > summary { font-size: .95rem; }
ol.talk { list-style: none; margin: 0; padding: 0; }
.talk > li { border-left: 3px solid var(--line); padding: 0 0 0 .9rem; margin: 0 0 1rem; }
.talk > li:last-child { margin-bottom: 0; }
.talk .answer { margin-top: .4rem; }
.plus { color: var(--good); } .minus { color: var(--bad); }
ul.plain { margin: .35rem 0 0; padding-left: 1.1rem; }
ul.commits { list-style: none; padding: 0; margin: .5rem 0 0; }
.commits li { padding: .15rem 0; }
footer { color: var(--soft); font-size: .8125rem; padding-top: .25rem; padding-bottom: 2rem; }
svg.timeline { display: block; width: 100%; font: 500 11px/1 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.timeline .lane { fill: var(--soft); font-size: 12px; }
.timeline .track { fill: var(--code); }
.timeline .tick { stroke: var(--line); stroke-width: 1; }
.timeline .at { fill: var(--soft); font-weight: 400; }
.timeline rect.good { fill: var(--good-fill); stroke: var(--good); } .timeline text.good { fill: var(--good); }
.timeline rect.bad { fill: var(--bad-fill); stroke: var(--bad); } .timeline text.bad { fill: var(--bad); }
.timeline rect.wait { fill: var(--wait-fill); stroke: var(--wait); } .timeline text.wait { fill: var(--wait); }
.timeline rect.busy { fill: var(--busy-fill); stroke: var(--busy); } .timeline text.busy { fill: var(--busy); }
.timeline rect.quiet { fill: var(--quiet-fill); stroke: var(--quiet); } .timeline text.quiet { fill: var(--quiet); }
.timeline rect.span { stroke-width: 1; stroke-opacity: .55; }
.timeline .from-medium, .timeline .from-wide { display: none; }
@media (min-width: 44rem) { .timeline .from-medium { display: inline; } }
@media (min-width: 62rem) { .timeline .from-wide { display: inline; } }
@media (max-width: 39.99rem) {
  header { padding-top: 1.1rem; }
  section { padding: .85rem .9rem; }
  dl:not(.facts) { grid-template-columns: 1fr; gap: 0; }
  dl:not(.facts) dt { margin-top: .4rem; font-size: .8125rem; }
  .tiles li { flex-basis: 7rem; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody, tr, td, caption { display: block; }
  tbody tr { padding: .5rem 0; border-bottom: 1px solid var(--line); }
  tbody tr:last-child { border-bottom: 0; padding-bottom: 0; }
  td { border: 0; padding: .1rem 0; }
  tbody tr.goes-on { border-bottom: 0; padding-bottom: 0; }
  tbody tr.goes-on + tr { padding-top: 0; }
  td.tight { display: inline-block; margin-right: .6rem; font-size: .8125rem; color: var(--soft); }
  td:empty { display: none; }
  td[data-label]::before { content: attr(data-label) ": "; color: var(--soft); font-size: .8125rem; }
}
@media print {
  body { background: none; }
  section, .tiles li { break-inside: avoid; border-color: #bbb; }
  pre { max-height: none; }
}
`;
