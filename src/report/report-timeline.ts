/** When what happened in a run, drawn from the journal: lanes for a drawing, moments for a list. Pure. */
import type { AgentState, RunState } from '../plan/lifecycle.js';
import type { RecordedRun } from '../plan/recorded.js';
import { durationText } from './stream.js';
import { unreachable } from './unreachable.js';

/** A line of the journal. */
export interface JournalEvent {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** How something stands: at work, well ended, badly ended, waiting for a person, or nothing of all that. */
export type Tone = 'busy' | 'good' | 'bad' | 'wait' | 'quiet';

/** Something that took time. Times in ms since the epoch; `from` is never after `to`. */
export interface Span {
  readonly from: number;
  readonly to: number;
  readonly tone: Tone;
  /** A few words. */
  readonly label: string;
  /** The same in full. */
  readonly title: string;
}

export interface Lane {
  readonly kind: 'run' | 'steps' | 'agent' | 'guidance' | 'criteria' | 'delivery';
  readonly name: string;
  /** Spans of a row do not overlap, unless there are too many at a time. */
  readonly rows: readonly (readonly Span[])[];
}

export interface Moment {
  readonly at: number;
  readonly kind: Lane['kind'];
  readonly tone: Tone;
  readonly text: string;
}

export interface Timeline {
  readonly from: number;
  readonly to: number;
  /** Those in which something happened. */
  readonly lanes: readonly Lane[];
  /** Oldest first. Steps are among them only where they failed. */
  readonly moments: readonly Moment[];
}

/** How many rows a lane may take. */
const MOST_ROWS = 4;

/** The timeline of a run whose texts are safe to show. `now` is when one looks, in ms since the epoch. */
export function timelineOf(run: RecordedRun, events: readonly JournalEvent[], now: number): Timeline {
  const from = Math.min(run.createdAt, ...events.map((event) => event.at));
  const last = Math.max(from, ...events.map((event) => event.at));
  const to = Math.max(from + 1, run.state === 'closed' ? last : Math.max(last, now));
  const inside = (at: number): number => Math.min(to, Math.max(from, at));
  const within = (span: Span): Span => {
    const begin = inside(span.from);
    return { ...span, from: begin, to: Math.max(begin, inside(span.to)) };
  };

  const runSpans = runStates(events, to);
  const steps = stepSpans(run, events, to);
  const agents = agentSpans(run, events, to);
  const questions = questionSpans(run, events, to);
  const checks = checkSpans(run);
  const deliveries = deliverySpans(events);
  const lane = (kind: Lane['kind'], name: string, spans: readonly Span[]): Lane[] =>
    spans.length === 0 ? [] : [{ kind, name, rows: packed(spans.map(within)) }];
  const told = (kind: Lane['kind'], at: number, tone: Tone, text: string): Moment => {
    return { at: inside(at), kind, tone, text };
  };
  const moments = [
    ...runSpans.map((span) => told('run', span.from, span.tone, `Run: ${span.words}`)),
    ...(run.state === 'closed'
      ? [told('run', to, run.outcome === 'delivered' ? 'good' : 'quiet', `Run: ${closedWords(run)}`)]
      : []),
    ...steps
      .filter((span) => span.tone === 'bad')
      .map((span) => told('steps', span.to, 'bad', `Step ${span.title}`)),
    ...agents.flatMap(({ name, spans }) =>
      spans.flatMap((span) => [
        told('agent', span.from, 'busy', `Agent ${name}: attempt ${span.attempt} started`),
        ...(span.ended ? [told('agent', span.to, span.tone, `Agent ${name}: ${span.title}`)] : []),
      ]),
    ),
    ...run.guidance.flatMap(({ id, agent, askedAt, answeredAt, question, answer }) => [
      told('guidance', askedAt, 'wait', `${id}: ${agent} asked: ${question}`),
      ...(answeredAt === null
        ? []
        : [told('guidance', answeredAt, 'good', `${id} answered: ${answer ?? ''}`)]),
    ]),
    ...checks.map((span) => told('criteria', span.to, span.tone, `Criterion ${span.title}`)),
    ...deliveries.map((span) => told('delivery', span.to, span.tone, span.title)),
  ];
  return {
    from,
    to,
    lanes: [
      ...lane('run', 'Run', runSpans),
      ...lane('steps', 'Steps', steps),
      ...agents.flatMap(({ name, spans }) => lane('agent', `Agent ${name}`, spans)),
      ...lane('guidance', 'Questions', questions),
      ...lane('criteria', 'Criteria', checks),
      ...lane('delivery', 'Delivery', deliveries),
    ],
    moments: moments
      .map((moment, index) => ({ moment, index }))
      .sort((a, b) => a.moment.at - b.moment.at || a.index - b.index)
      .map(({ moment }) => moment),
  };
}

/** How a run that is closed ended. */
function closedWords(run: RecordedRun): string {
  return run.outcome === null ? 'closed' : `closed (${run.outcome})`;
}

function runStates(events: readonly JournalEvent[], end: number): RunSpan[] {
  const changes = events.filter(({ type }) => type === 'run');
  const spans: RunSpan[] = [];
  for (const [index, { at, data }] of changes.entries()) {
    const state = text(data.state) as RunState;
    if (state === 'closed') continue;
    const to = changes[index + 1]?.at ?? end;
    const reason = typeof data.reason === 'string' ? ` (${data.reason.replaceAll('_', ' ')})` : '';
    const words = `${state.replaceAll('_', ' ')}${reason}`;
    const before = spans.at(-1);
    const from = before?.words === words ? (spans.pop()?.from ?? at) : at;
    const label = state === 'awaiting_guidance' ? 'waiting' : state;
    const title = `${words} for ${durationText(Math.max(0, to - from))}`;
    spans.push({ from, to, tone: runTone(state), label, title, words });
  }
  return spans;
}

interface RunSpan extends Span {
  readonly words: string;
}

/** How a run stands in a state. */
export function runTone(state: RunState): Tone {
  switch (state) {
    case 'created':
    case 'planning':
    case 'stopping':
    case 'stopped':
    case 'closed':
      return 'quiet';
    case 'running':
    case 'closing':
      return 'busy';
    case 'awaiting_guidance':
    case 'paused':
      return 'wait';
    case 'failed':
      return 'bad';
    case 'completed':
      return 'good';
    default:
      return unreachable(state);
  }
}

function stepSpans(run: RecordedRun, events: readonly JournalEvent[], end: number): Span[] {
  const open = new Map<string, number>();
  const spans: Span[] = [];
  const add = (id: string, from: number, to: number, state: string, error: unknown): void => {
    const tone =
      state === 'failed' ? 'bad' : state === 'running' ? 'busy' : state === 'done' ? 'good' : 'quiet';
    const took = from === to ? '' : ` after ${durationText(to - from)}`;
    const why = typeof error === 'string' ? `: ${error}` : '';
    spans.push({
      from,
      to,
      tone,
      label: id,
      title: `${id} ${state}${state === 'running' ? '' : took}${why}`,
    });
  };
  for (const { type, at, data } of events) {
    if (type !== 'step') continue;
    const id = text(data.id);
    const begun = open.get(id);
    if (data.state === 'running') {
      // A step that was cut off begins anew: how long it really went on nobody saw.
      open.set(id, at);
      continue;
    }
    open.delete(id);
    if (begun === undefined && data.state === 'pending') continue;
    add(id, begun ?? at, at, text(data.state), data.error);
  }
  for (const [id, begun] of open) {
    if (run.steps.some((step) => step.id === id && step.state === 'running'))
      add(id, begun, end, 'running', null);
  }
  return spans;
}

interface AttemptSpan extends Span {
  readonly attempt: number;
  readonly ended: boolean;
}

interface SeenAttempt {
  from: number;
  to: number | null;
  state: AgentState;
  exitCode: number | null;
}

function agentSpans(
  run: RecordedRun,
  events: readonly JournalEvent[],
  end: number,
): { readonly name: string; readonly spans: readonly AttemptSpan[] }[] {
  const seen = new Map<string, Map<number, SeenAttempt>>(run.agents.map(({ name }) => [name, new Map()]));
  for (const { type, at, data } of events) {
    if (type !== 'agent' || typeof data.attempt !== 'number' || data.attempt === 0) continue;
    const attempts = seen.get(text(data.name));
    if (attempts === undefined) continue;
    const state = data.state as AgentState;
    const exitCode = typeof data.exitCode === 'number' ? data.exitCode : null;
    const before = attempts.get(data.attempt);
    const ended = hasEnded(state);
    if (before === undefined)
      attempts.set(data.attempt, { from: at, to: ended ? at : null, state, exitCode });
    else Object.assign(before, { state, exitCode, to: ended ? (before.to ?? at) : null });
  }
  return run.agents.map((agent) => {
    const attempts = [...(seen.get(agent.name) ?? [])].sort(([a], [b]) => a - b);
    const spans = attempts.map(([attempt, at]): AttemptSpan => {
      const newest = attempt === agent.attempt;
      const state = newest ? agent.state : at.state;
      const ended = hasEnded(state);
      // The agent's own records are more exact than the moment at which somebody looked at them.
      const from = newest ? (agent.startedAt ?? at.from) : at.from;
      const to = ended ? ((newest ? agent.endedAt : null) ?? at.to ?? end) : end;
      const exitCode = newest ? agent.exitCode : at.exitCode;
      const exit =
        exitCode === null || (state === 'completed' && exitCode === 0) ? '' : `, exit code ${exitCode}`;
      const took = ended ? ` after ${durationText(Math.max(0, to - from))}` : '';
      return {
        from,
        to: Math.max(from, to),
        tone: agentTone(state),
        label: `#${attempt} ${state}`,
        title: `attempt ${attempt} ${state}${took}${exit}`,
        attempt,
        ended,
      };
    });
    return { name: agent.name, spans };
  });
}

function hasEnded(state: AgentState): boolean {
  return !['pending', 'starting', 'running', 'unknown'].includes(state);
}

/** How an agent stands in a state. */
export function agentTone(state: AgentState): Tone {
  switch (state) {
    case 'starting':
    case 'running':
      return 'busy';
    case 'completed':
      return 'good';
    case 'failed':
    case 'dead':
      return 'bad';
    case 'exited':
    case 'unknown':
      return 'wait';
    case 'pending':
    case 'stopped':
      return 'quiet';
    default:
      return unreachable(state);
  }
}

function questionSpans(run: RecordedRun, events: readonly JournalEvent[], end: number): Span[] {
  return run.guidance.map(({ id, agent, askedAt, answeredAt, state, question }) => {
    const moved = events.findLast(
      ({ type, data }) => type === 'guidance' && data.id === id && data.state === state,
    );
    const to = answeredAt ?? (state === 'withdrawn' ? moved?.at : undefined) ?? end;
    const tone = state === 'pending' ? 'wait' : state === 'withdrawn' ? 'quiet' : 'good';
    const took = durationText(Math.max(0, to - askedAt));
    const how =
      state === 'pending'
        ? `open for ${took}`
        : `${state === 'withdrawn' ? state : 'answered'} after ${took}`;
    return {
      from: askedAt,
      to: Math.max(askedAt, to),
      tone,
      label: id,
      title: `${id} of ${agent} ${how}: ${question}`,
    };
  });
}

function checkSpans(run: RecordedRun): Span[] {
  return run.evidence.map(({ label, state, detail, checkedAt, durationMs }) => {
    const why = detail === null ? '' : `: ${detail}`;
    const took = durationMs === null ? '' : ` after ${durationText(durationMs)}`;
    return {
      from: checkedAt - (durationMs ?? 0),
      to: checkedAt,
      tone: state === 'passed' ? 'good' : 'bad',
      label,
      title: `${label} ${state}${took}${why}`,
    };
  });
}

function deliverySpans(events: readonly JournalEvent[]): Span[] {
  return events
    .filter(
      ({ type, data }) => type === 'delivery' && (data.state === 'done' || data.state === 'rolled_back'),
    )
    .map(({ at, data }) => {
      const done = data.state === 'done';
      const how = done ? 'delivered' : 'taken back';
      return {
        from: at,
        to: at,
        tone: done ? 'good' : 'bad',
        label: text(data.repo),
        title: `${text(data.repo)} ${how} (${text(data.kind).replaceAll('_', ' ')})`,
      };
    });
}

/** Spans in as few rows as need be. */
function packed(spans: readonly Span[]): readonly (readonly Span[])[] {
  const rows: Span[][] = [];
  for (const span of [...spans].sort((a, b) => a.from - b.from || a.to - b.to)) {
    const endOf = (row: readonly Span[]): number => Math.max(...row.map(({ to }) => to));
    const free = rows.find((row) => endOf(row) <= span.from);
    if (free !== undefined) free.push(span);
    else if (rows.length < MOST_ROWS) rows.push([span]);
    else rows.reduce((a, b) => (endOf(b) < endOf(a) ? b : a)).push(span);
  }
  return rows;
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : String(value ?? '');
}
