/** The report of a run as one page that needs nothing but itself: no script, no other file, no network. */
import { timelineSvg } from './report-drawing.js';
import { htmlText as esc, webAddress } from './report-escape.js';
import type { Check, Report, ReportAgent, ReportCriterion, ReportRepo } from './report-model.js';
import { type Cell, log, pre, type Row, section, state, table } from './report-parts.js';
import { REPORT_STYLE } from './report-style.js';
import { agentTone } from './report-timeline.js';
import {
  agentText,
  CRITERION_SIGNS,
  CRITERION_TONES,
  changesText,
  checkText,
  count,
  deliveryText,
  factsOf,
  headsText,
  repoText,
  shortCommit,
  spanText,
  timeText,
} from './report-words.js';

const POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/** The page, with a newline at the end. */
export function reportHtml(report: Report): string {
  const { run } = report;
  const { title } = run.intent.ticket;
  const named = title === run.ticketId ? run.ticketId : `${run.ticketId}: ${title}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="metawsm ${esc(report.version)}">
<title>${esc(named)}</title>
<style>${REPORT_STYLE}</style>
</head>
<body>
${header(report)}
<main>
${[
  warnings(report),
  intake(report),
  timeline(report),
  evidence(report),
  questions(report),
  changes(report),
  gates(report),
  agents(report),
  steps(report),
]
  .filter((part) => part !== '')
  .join('\n')}
</main>
<footer><p>Made by metawsm ${esc(report.version)} on ${timeText(report.generatedAt)} UTC. All times are UTC.</p></footer>
</body>
</html>
`;
}

function header(report: Report): string {
  const { run, headline } = report;
  const { title } = run.intent.ticket;
  const heading =
    title === run.ticketId ? esc(title) : `<span class="id">${esc(run.ticketId)}</span> ${esc(title)}`;
  const tiles = tilesOf(report).map(
    ([number, what]) => `<li><b>${esc(number)}</b><span>${esc(what)}</span></li>`,
  );
  const facts = factsOf(report).map(([name, value]) => `<dt>${esc(name)}</dt><dd>${esc(value)}</dd>`);
  return `<header>
<h1>${heading}</h1>
<p><span class="badge ${headline.tone}">${esc(headline.text)}</span></p>
${run.detail === null ? '' : `<p class="text">${esc(run.detail)}</p>`}
<ul class="tiles">${tiles.join('')}</ul>
<dl class="facts">${facts.join('')}</dl>
</header>`;
}

function tilesOf(report: Report): [string, string][] {
  const { run, criteria, repos, timeline: line } = report;
  const passed = criteria.filter(({ state }) => state === 'passed').length;
  const known = repos.flatMap(({ history }) => (history === null ? [] : [history]));
  const sum = (of: (history: (typeof known)[number]) => number): number =>
    known.reduce((total, history) => total + of(history), 0);
  const starts = run.agents.reduce((total, { attempt }) => total + attempt, 0);
  return [
    [`${passed} of ${criteria.length}`, criteria.length === 1 ? 'criterion passed' : 'criteria passed'],
    ...(known.length === 0
      ? []
      : [
          [
            `+${sum((h) => h.insertions)} −${sum((h) => h.deletions)}`,
            `${count(
              sum((h) => h.filesChanged),
              'file',
            )} in ${count(
              sum((h) => h.commitCount),
              'commit',
            )}`,
          ] as [string, string],
        ]),
    [String(run.guidance.length), run.guidance.length === 1 ? 'question asked' : 'questions asked'],
    [String(starts), starts === 1 ? 'agent start' : 'agent starts'],
    [spanText(line.to - line.from), run.state === 'closed' ? 'in all' : 'so far'],
  ];
}

function warnings({ warnings: found }: Report): string {
  if (found.length === 0) return '';
  const lines = found.map(({ message, file }) => {
    const place = file === null || message.includes(file) ? '' : `<code>${esc(file)}</code>: `;
    return `<li>${place}${esc(message)}</li>`;
  });
  return section('warnings', 'Warnings', [`<ul class="plain">${lines.join('')}</ul>`]);
}

function intake({ run }: Report): string {
  const { goal, scope, constraints, answers } = run.intent.intake;
  const rows = [
    ['Goal', goal],
    ['Scope', scope],
    ['Constraints', constraints],
    ...answers.map(({ question, answer }) => [question, answer]),
  ];
  return section('intake', 'Intake', [
    `<dl>${rows.map(([name = '', text = '']) => `<dt>${esc(name)}</dt><dd class="text">${esc(text)}</dd>`).join('')}</dl>`,
  ]);
}

function timeline({ timeline: line }: Report): string {
  const rows = line.moments.map(({ at, tone, text }) => [
    {
      html: `<time datetime="${new Date(at).toISOString()}">${timeText(at)}</time>`,
      tight: true,
      label: false,
    },
    { html: `+${esc(spanText(at - line.from))}`, tight: true, label: false },
    { html: `<span class="dot ${tone}"></span><span class="text">${esc(text)}</span>`, label: false },
  ]);
  return section('timeline', 'Timeline', [
    timelineSvg(line),
    '<p class="soft small">Time goes from left to right; long stretches are drawn shorter than they were.</p>',
    `<details class="wide"><summary>${count(line.moments.length, 'moment')} in order</summary>`,
    table('What happened, oldest first', ['Time', 'After', 'What happened'], rows),
    '</details>',
  ]);
}

function evidence({ criteria, repos }: Report): string {
  const rows = criteria.map((criterion) => criterionRow(criterion, repos.length > 1));
  return section('evidence', 'Evidence', [
    table('Each done criterion, and how it was checked', ['Criterion', 'Result', 'Commit', 'Checked'], rows),
  ]);
}

function criterionRow(criterion: ReportCriterion, several: boolean): Row {
  const { id, kind, repo, checks, checksLeftOut } = criterion;
  const [newest, ...earlier] = checks;
  const where =
    kind === 'command' && several ? ` <span class="soft">in ${esc(repo ?? 'the workspace')}</span>` : '';
  const text =
    kind === 'command'
      ? `<code>${esc(criterion.text)}</code>`
      : `<span class="text">${esc(criterion.text)}</span>`;
  const why = criterion.voidReason ?? criterion.detail;
  const output = newest === undefined || newest.log === null ? '' : log(`Output of ${id}`, newest.log);
  const older =
    earlier.length === 0
      ? ''
      : `<details><summary>${count(earlier.length + checksLeftOut, 'earlier check')}</summary><ul class="plain">${earlier.map((check) => `<li>${checkHtml(id, check)}</li>`).join('')}${checksLeftOut > 0 ? `<li>and ${count(checksLeftOut, 'older check')}, not shown</li>` : ''}</ul></details>`;
  const cells: Cell[] = [
    { html: `<span class="soft">${id}</span> ${text}${where}`, label: false },
    {
      html: `${state(CRITERION_SIGNS[criterion.state], CRITERION_TONES[criterion.state], criterion.state)}${why === null ? '' : `<span class="why">${esc(why)}</span>`}`,
    },
    { html: newest === undefined ? '' : `<code>${esc(headsText(newest.heads))}</code>` },
    {
      html: criterion.checkedAt === null ? '' : esc(timeText(criterion.checkedAt)),
    },
  ];
  return { cells, more: output + older };
}

function checkHtml(id: string, check: Check): string {
  const words = `${timeText(check.checkedAt)}: ${checkText(check)}`;
  const output = check.log === null ? '' : log(`Output of ${id} then`, check.log);
  return `<span class="${check.state === 'passed' ? 'good' : 'bad'}">${esc(words)}</span> <code>${esc(headsText(check.heads))}</code>${output}`;
}

function questions({ run }: Report): string {
  if (run.guidance.length === 0) return '';
  const items = run.guidance.map((asked) => {
    const took =
      asked.answeredAt === null
        ? ''
        : `, answered after ${spanText(Math.max(0, asked.answeredAt - asked.askedAt))}`;
    const how = asked.answer === null ? `, ${asked.state}` : took;
    const context =
      typeof asked.context === 'string'
        ? `<details><summary>Context</summary>${pre(asked.context, `Context of ${asked.id}`)}</details>`
        : '';
    const answer =
      asked.answer === null
        ? ''
        : `<div class="answer"><span class="soft">Answer: </span><span class="text">${esc(asked.answer)}</span></div>`;
    return `<li><span class="soft small">${esc(`${asked.id}, ${asked.agent}, ${timeText(asked.askedAt)}${how}`)}</span><div class="text">${esc(asked.question)}</div>${context}${answer}</li>`;
  });
  return section('questions', 'Questions', [`<ol class="talk">${items.join('\n')}</ol>`]);
}

function changes({ repos }: Report): string {
  return section('changes', 'Changes', repos.map(repoHtml));
}

function repoHtml(seen: ReportRepo): string {
  const { repo, history, delivery, note, dirtyFiles } = seen;
  const parts = [`<h3>${esc(repo.name)}</h3>`];
  if (history === null || history.commitCount === 0) parts.push(`<p>${esc(changesText(seen))}</p>`);
  else {
    parts.push(
      `<p>${count(history.filesChanged, 'file')} changed, <span class="plus">${count(history.insertions, 'insertion')}</span>, <span class="minus">${count(history.deletions, 'deletion')}</span> in ${count(history.commitCount, 'commit')}</p>`,
    );
  }
  parts.push(`<p class="soft small">${esc(repoText(seen))}</p>`);
  if (note !== null) parts.push(`<p class="wait">${esc(note)}</p>`);
  if (dirtyFiles !== null && dirtyFiles.length > 0) {
    parts.push(
      `<details><summary>${count(dirtyFiles.length, 'uncommitted file')}</summary>${list(dirtyFiles)}</details>`,
    );
  }
  if (delivery !== null) parts.push(deliveryHtml(delivery));
  if (history === null || history.commitCount === 0) return parts.join('\n');
  const left = history.commitCount - history.commits.length;
  const commits = history.commits.map(
    (commit) =>
      `<li><code>${esc(shortCommit(commit.commit))}</code> ${esc(commit.subject)} <span class="soft small">${esc(commit.author)}, ${timeText(commit.at)}</span></li>`,
  );
  if (left > 0) commits.unshift(`<li class="soft">${count(left, 'older commit')}, not shown</li>`);
  parts.push(`<ul class="commits">${commits.join('\n')}</ul>`);
  const files = history.files.map((file) => {
    const lines =
      file.insertions === null
        ? 'binary'
        : `<span class="plus">+${file.insertions}</span> <span class="minus">−${file.deletions ?? 0}</span>`;
    return [
      { html: `<code>${esc(file.path)}</code>`, label: false },
      { html: lines, tight: true, label: false },
    ];
  });
  const more = history.filesChanged - history.files.length;
  parts.push(
    `<details><summary>${count(history.filesChanged, 'changed file')}</summary>`,
    table(`Changed files of ${repo.name}`, ['File', 'Lines'], files),
    more > 0 ? `<p class="soft">and ${more} more</p>` : '',
    '</details>',
  );
  return parts.join('\n');
}

function deliveryHtml(delivery: NonNullable<ReportRepo['delivery']>): string {
  const address = webAddress(delivery.url);
  const link =
    address === null
      ? delivery.url === null
        ? ''
        : ` <code>${esc(delivery.url)}</code>`
      : ` <a href="${esc(address)}" rel="noreferrer noopener">${esc(address)}</a>`;
  const tone = delivery.state === 'done' ? 'good' : delivery.state === 'rolled_back' ? 'bad' : 'wait';
  return `<p><span class="soft">Delivery:</span> <span class="${tone}">${esc(deliveryText(delivery))}</span>, ${timeText(delivery.at)}${link}</p>`;
}

function list(texts: readonly string[]): string {
  return `<ul class="plain">${texts.map((text) => `<li><code>${esc(text)}</code></li>`).join('')}</ul>`;
}

function gates({ gates: found }: Report): string {
  if (found.length === 0) return '';
  const rows = found.map(({ name, ok, reason }): Cell[] => [
    { html: esc(name.replaceAll('_', ' ')), label: false },
    { html: ok ? state('✔', 'good', 'holds') : state('✖', 'bad', 'does not hold'), label: false },
    { html: `<span class="text">${esc(reason)}</span>`, label: false },
  ]);
  const open = found.filter(({ ok }) => ok).length;
  return section('gates', 'Gates of close', [
    table(`${open} of ${found.length} hold`, ['Gate', 'State', 'Why'], rows),
  ]);
}

function agents({ agents: found }: Report): string {
  if (found.length === 0) return '';
  return section('agents', 'Agents', found.map(agentHtml));
}

function agentHtml(seen: ReportAgent): string {
  const { agent, log: end } = seen;
  const summary =
    agent.summary === null || agent.summary === '' ? '' : `<p class="text">${esc(agent.summary)}</p>`;
  const output = end === null ? '' : log(`Output of attempt ${agent.attempt}`, end);
  return `<h3>${esc(agent.name)}</h3>\n<p class="${agentTone(agent.state)}">${esc(agentText(seen))}</p>\n${summary}${output}`;
}

function steps({ run }: Report): string {
  if (run.steps.length === 0) return '';
  const tones = { pending: 'quiet', running: 'busy', done: 'good', failed: 'bad', skipped: 'quiet' } as const;
  const signs = { pending: '·', running: '❯', done: '✔', failed: '✖', skipped: '↓' } as const;
  const rows = run.steps.map((step): Cell[] => {
    const tries = step.attempts > 1 ? `<span class="why">${step.attempts} tries</span>` : '';
    const error = step.error === null ? '' : `<span class="why text">${esc(step.error)}</span>`;
    const output =
      step.log === null || step.log === '' || step.state === 'done'
        ? ''
        : pre(step.log, `End of the output of ${step.id}`);
    const took =
      step.startedAt === null || step.endedAt === null
        ? ''
        : spanText(Math.max(0, step.endedAt - step.startedAt));
    return [
      { html: `<code>${esc(step.id)}</code>`, label: false },
      {
        html: `${state(signs[step.state], tones[step.state], step.state)}${tries}${error}${output}`,
        label: false,
      },
      { html: esc(took), tight: true },
    ];
  });
  const done = run.steps.filter((step) => step.state === 'done' || step.state === 'skipped').length;
  const open = done === run.steps.length ? '' : ' open';
  return section('steps', 'Steps', [
    `<details class="wide"${open}><summary>${done} of ${run.steps.length} done</summary>`,
    table('The recorded steps, in order', ['Step', 'State', 'Took'], rows),
    '</details>',
  ]);
}
