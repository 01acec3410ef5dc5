/** The report of a run as Markdown, for a ticket, a pull request or the page of a CI job. */
import {
  markdownCode as code,
  markdownFence as fence,
  markdownLink,
  markdownText as say,
  webAddress,
} from './report-escape.js';
import type { Check, LogEnd, Report, ReportCriterion, ReportRepo } from './report-model.js';
import {
  agentText,
  CRITERION_SIGNS,
  changesText,
  checkText,
  count,
  deliveryText,
  factsOf,
  headsText,
  logNote,
  repoText,
  shortCommit,
  spanText,
  timeText,
} from './report-words.js';

/** GitHub takes 65,536 characters as the text of a comment or a pull request. */
const DEFAULT_MOST_BYTES = 65_000;

/** How much of everything is shown; the first that fits is taken. */
const SIZES: readonly Size[] = [
  { log: 16_384, list: 200, text: 8_000 },
  { log: 4_096, list: 100, text: 4_000 },
  { log: 1_024, list: 50, text: 2_000 },
  { log: 0, list: 20, text: 500 },
  { log: 0, list: 5, text: 200 },
];

interface Size {
  /** Characters of a log; 0: no logs. */
  readonly log: number;
  /** Entries of a list. */
  readonly list: number;
  /** Characters of any other text. */
  readonly text: number;
}

/** The Markdown, with a newline at the end; null: not even the shortest fits into `mostBytes`. */
export function reportMarkdown(report: Report, mostBytes: number = DEFAULT_MOST_BYTES): string | null {
  for (const size of SIZES) {
    const text = new Page(report, size).text();
    if (Buffer.byteLength(text) <= mostBytes) return text;
  }
  return null;
}

class Page {
  readonly #lines: string[] = [];

  constructor(
    private readonly report: Report,
    private readonly size: Size,
  ) {}

  text(): string {
    const { run, headline } = this.report;
    const title = run.intent.ticket.title === run.ticketId ? '' : `: ${run.intent.ticket.title}`;
    this.#add(
      `## ${this.#say(`${run.ticketId}${title}`.replaceAll('\n', ' '))}`,
      '',
      `**${this.#say(headline.text)}**`,
    );
    if (run.detail !== null) this.#add('', `Why: ${this.#say(run.detail)}`);
    this.#add('', ...factsOf(this.report).map(([name, value]) => `- ${name}: ${this.#code(value)}`));
    this.#warnings();
    this.#intake();
    this.#evidence();
    this.#questions();
    this.#changes();
    this.#gates();
    this.#agents();
    this.#timeline();
    this.#steps();
    const { generatedAt, version } = this.report;
    this.#add('', `<sub>metawsm ${say(version)}, ${timeText(generatedAt)} UTC</sub>`);
    return `${this.#lines.join('\n')}\n`;
  }

  #add(...lines: readonly string[]): void {
    this.#lines.push(...lines);
  }

  #section(name: string): void {
    this.#add('', `### ${name}`, '');
  }

  #say(text: string): string {
    return say(this.#cut(text));
  }

  #code(text: string): string {
    return code(this.#cut(text));
  }

  #cut(text: string): string {
    const most = this.size.text;
    return text.length > most ? `${text.slice(0, most)} […]` : text;
  }

  #table(head: readonly string[], rows: readonly (readonly string[])[]): void {
    this.#add(`| ${head.join(' | ')} |`, `|${' --- |'.repeat(head.length)}`);
    for (const row of this.#some(rows)) this.#add(`| ${row.join(' | ')} |`);
    this.#more(rows);
  }

  #some<T>(entries: readonly T[]): readonly T[] {
    return entries.slice(0, this.size.list);
  }

  #more(entries: readonly unknown[]): void {
    const left = entries.length - this.size.list;
    if (left > 0) this.#add('', `… and ${left} more.`);
  }

  #folded(summary: string, content: readonly string[]): void {
    this.#add('', `<details><summary>${summary}</summary>`, '', ...content, '', '</details>');
  }

  #log(title: string, log: LogEnd): void {
    if (this.size.log === 0) return;
    const note = logNote(log);
    if (log.text === null || log.text === '') {
      this.#add('', `${title}: ${note}.`);
      return;
    }
    const shown = log.text.length > this.size.log ? `[…]\n${log.text.slice(-this.size.log)}` : log.text;
    this.#folded(`${title}${note === '' ? '' : ` (${note})`}`, [fence(shown)]);
  }

  #warnings(): void {
    const { warnings } = this.report;
    if (warnings.length === 0) return;
    this.#section('Warnings');
    this.#add(
      ...this.#some(warnings).map(({ message, file }) => {
        const place = file === null || message.includes(file) ? '' : `${this.#code(file)}: `;
        return `- ${place}${this.#say(message)}`;
      }),
    );
    this.#more(warnings);
  }

  #intake(): void {
    const { intake } = this.report.run.intent;
    this.#section('Intake');
    this.#add(`- **Goal**: ${this.#say(intake.goal)}`);
    this.#add(`- **Scope**: ${this.#say(intake.scope)}`);
    this.#add(`- **Constraints**: ${this.#say(intake.constraints)}`);
    for (const { question, answer } of this.#some(intake.answers)) {
      this.#add(`- **${this.#say(question)}** ${this.#say(answer)}`);
    }
    this.#more(intake.answers);
  }

  #evidence(): void {
    const { criteria, repos } = this.report;
    this.#section('Evidence');
    this.#table(
      ['', 'Criterion', 'Result', 'Commit', 'Checked (UTC)'],
      criteria.map((criterion) => this.#criterion(criterion, repos.length > 1)),
    );
    for (const { id, checks, checksLeftOut } of this.#some(criteria)) {
      for (const check of checks) {
        if (check.log !== null) this.#log(`${id}: output of ${this.#checkTitle(check)}`, check.log);
      }
      if (checksLeftOut > 0) this.#add('', `${id}: ${count(checksLeftOut, 'older check')} not shown.`);
    }
  }

  #criterion(criterion: ReportCriterion, several: boolean): string[] {
    const { id, kind, state, repo, checkedAt, checks } = criterion;
    const where = kind === 'command' && several ? ` in ${repo === null ? 'the workspace' : code(repo)}` : '';
    const what = kind === 'command' ? this.#code(criterion.text) : this.#say(criterion.text);
    const [newest] = checks;
    const why = criterion.voidReason ?? criterion.detail;
    return [
      CRITERION_SIGNS[state],
      `${id} ${what}${where}`,
      `${state}${why === null ? '' : `: ${this.#say(why)}`}`,
      newest === undefined ? '' : code(headsText(newest.heads)),
      checkedAt === null ? '' : timeText(checkedAt),
    ];
  }

  #checkTitle(check: Check): string {
    return `the check at ${timeText(check.checkedAt)}, ${code(headsText(check.heads))}: ${this.#say(checkText(check))}`;
  }

  #questions(): void {
    const { guidance } = this.report.run;
    if (guidance.length === 0) return;
    this.#section('Questions');
    for (const asked of this.#some(guidance)) {
      const took =
        asked.answeredAt === null ? '' : ` after ${spanText(Math.max(0, asked.answeredAt - asked.askedAt))}`;
      const state = asked.answer === null ? ` (${asked.state})` : '';
      this.#add(
        `- **${asked.id}** ${say(asked.agent)}, ${timeText(asked.askedAt)}${state}: ${this.#say(asked.question)}`,
      );
      if (typeof asked.context === 'string') this.#add(`  - Context: ${this.#code(asked.context)}`);
      if (asked.answer !== null) this.#add(`  - Answer${took}: ${this.#say(asked.answer)}`);
    }
    this.#more(guidance);
  }

  #changes(): void {
    this.#section('Changes');
    for (const repo of this.#some(this.report.repos)) this.#repo(repo);
    this.#more(this.report.repos);
  }

  #repo(seen: ReportRepo): void {
    const { repo, history, delivery, note } = seen;
    this.#add(`- ${code(repo.name)}: ${changesText(seen)}; ${this.#say(repoText(seen))}`);
    if (note !== null) this.#add(`  - ${this.#say(note)}`);
    if (delivery !== null) {
      const address = webAddress(delivery.url);
      const link =
        address === null
          ? delivery.url === null
            ? ''
            : ` ${this.#code(delivery.url)}`
          : ` ${markdownLink(address)}`;
      this.#add(`  - Delivery: ${say(deliveryText(delivery))}${link}`);
    }
    if (history === null || history.commitCount === 0) return;
    for (const commit of this.#some(history.commits)) {
      this.#add(`  - ${code(shortCommit(commit.commit))} ${this.#say(commit.subject)}`);
    }
    const left = history.commitCount - Math.min(this.size.list, history.commits.length);
    if (left > 0) this.#add(`  - … and ${count(left, 'more commit', 'more commits')}`);
  }

  #gates(): void {
    const { gates } = this.report;
    if (gates.length === 0) return;
    this.#section('Gates of close');
    this.#table(
      ['', 'Gate', ''],
      gates.map(({ name, ok, reason }) => [ok ? '✔' : '✖', name.replaceAll('_', ' '), this.#say(reason)]),
    );
  }

  #agents(): void {
    const { agents } = this.report;
    if (agents.length === 0) return;
    this.#section('Agents');
    for (const each of this.#some(agents)) {
      const { agent } = each;
      const summary = agent.summary === null || agent.summary === '' ? '' : `: ${this.#say(agent.summary)}`;
      this.#add(`- **${say(agent.name)}** ${this.#say(agentText(each))}${summary}`);
    }
    this.#more(agents);
    for (const { agent, log } of this.#some(agents)) {
      if (log !== null) this.#log(`Output of ${say(agent.name)}, attempt ${agent.attempt}`, log);
    }
  }

  #timeline(): void {
    const { moments, from, to } = this.report.timeline;
    const rows = this.#some(moments).map(({ at, text }) => `| ${timeText(at)} | ${this.#say(text)} |`);
    const left = moments.length - rows.length;
    const note = left > 0 ? ['', `… and ${left} more.`] : [];
    this.#folded(`Timeline: ${count(moments.length, 'moment')} in ${spanText(to - from)}`, [
      '| Time (UTC) | What happened |',
      '| --- | --- |',
      ...rows,
      ...note,
    ]);
  }

  #steps(): void {
    const { steps } = this.report.run;
    if (steps.length === 0) return;
    const done = steps.filter(({ state }) => state === 'done' || state === 'skipped').length;
    const rows = this.#some(steps).map((step) => {
      const took =
        step.startedAt === null || step.endedAt === null
          ? ''
          : spanText(Math.max(0, step.endedAt - step.startedAt));
      const error = step.error === null ? '' : `: ${this.#say(step.error)}`;
      return `| ${this.#code(step.id)} | ${step.state}${error} | ${took} |`;
    });
    const left = steps.length - rows.length;
    this.#folded(`Steps: ${done} of ${steps.length} done`, [
      '| Step | State | Took |',
      '| --- | --- | --- |',
      ...rows,
      ...(left > 0 ? ['', `… and ${left} more.`] : []),
    ]);
  }
}
