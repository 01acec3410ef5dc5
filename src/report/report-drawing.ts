/**
 * A timeline as an inline SVG that is as wide as its page: positions are percentages, so that texts keep their size
 * from a phone to a wide screen, and labels that only a wider page has room for appear there.
 */
import { htmlText as esc } from './report-escape.js';
import type { Lane, Span, Timeline } from './report-timeline.js';
import { count, spanText, timeText } from './report-words.js';

const ROW = 18;
const ROW_GAP = 4;
const LANE_LABEL = 18;
const LANE_GAP = 12;
const AXIS = 26;

/** The least widths of the drawing, in px, from which labels of a class are shown: `report-style.ts` has them. */
const WIDTHS = [
  { className: '', px: 290 },
  { className: 'from-medium', px: 610 },
  { className: 'from-wide', px: 900 },
] as const;

/** What a character takes, and the space beside a label, in px. */
const CHARACTER = 6.4;
const LABEL_SPACE = 10;
/** The room that the label of a tick wants, in px. */
const TICK_SPACE = 62;
/** An hour is not drawn as long as 3,600 seconds are: a second of work is to be seen beside a night of waiting. */
const SHORTENING = 0.35;

/** The drawing. Texts of the timeline are safe but not escaped. */
export function timelineSvg(timeline: Timeline): string {
  const { from, to, lanes } = timeline;
  const scale = scaleOf(timeline);
  const tops: number[] = [];
  let bottom = 0;
  for (const lane of lanes) {
    tops.push(bottom);
    bottom += LANE_LABEL + lane.rows.length * (ROW + ROW_GAP) - ROW_GAP + LANE_GAP;
  }
  const height = bottom + AXIS;
  const drawn = lanes.map((lane, index) => laneSvg(lane, tops[index] ?? 0, scale)).join('\n');
  return [
    `<svg class="timeline" role="img" aria-labelledby="timeline-title timeline-desc" width="100%" height="${height}" xmlns="http://www.w3.org/2000/svg">`,
    '<title id="timeline-title">Timeline of the run</title>',
    `<desc id="timeline-desc">${esc(inWords(timeline))}</desc>`,
    ticksSvg(scale, bottom),
    drawn,
    `<text class="at" x="0" y="${height - 2}">${esc(timeText(from))}</text>`,
    `<text class="at" x="100%" y="${height - 2}" text-anchor="end">+${esc(spanText(to - from))}</text>`,
    '</svg>',
  ].join('\n');
}

/** What the drawing shows, for those who do not see it; the list of moments says it all. */
function inWords({ from, to, lanes }: Timeline): string {
  const parts = lanes.map(({ name, rows }) => `${name}: ${count(rows.flat().length, 'entry', 'entries')}`);
  return `From ${timeText(from)} UTC, ${spanText(to - from)} long. ${parts.join('. ')}. The moments are listed below the drawing.`;
}

/** From times to percentages, for every time at which something begins or ends. */
interface Scale {
  readonly times: readonly number[];
  at(time: number): number;
}

function scaleOf({ from, to, lanes }: Timeline): Scale {
  const spans = lanes.flatMap(({ rows }) => rows.flat());
  const times = [...new Set([from, to, ...spans.flatMap((span) => [span.from, span.to])])].sort(
    (a, b) => a - b,
  );
  const lengths = times.map((time, index) => (time - (times[index - 1] ?? time)) ** SHORTENING);
  const whole = lengths.reduce((sum, length) => sum + length, 0);
  let sum = 0;
  const places = new Map(
    times.map((time, index) => {
      sum += lengths[index] ?? 0;
      return [time, (100 * sum) / whole] as const;
    }),
  );
  return { times, at: (time) => places.get(time) ?? 0 };
}

function ticksSvg(scale: Scale, bottom: number): string {
  const [first = 0] = scale.times;
  const chosen: number[] = [0, 100];
  const labels = new Set<string>();
  const lines: string[] = [];
  for (const { className, px } of WIDTHS) {
    const room = (100 * TICK_SPACE) / px;
    for (const time of scale.times) {
      const place = scale.at(time);
      const label = `+${spanText(time - first)}`;
      if (labels.has(label) || chosen.some((other) => Math.abs(other - place) < room)) continue;
      chosen.push(place);
      labels.add(label);
      const x = percent(place);
      lines.push(
        `<g class="${className}"><line class="tick" x1="${x}" x2="${x}" y1="0" y2="${bottom}"/><text class="at" x="${x}" y="${bottom + 10}" text-anchor="middle">${esc(label)}</text></g>`,
      );
    }
  }
  return lines.join('\n');
}

function laneSvg(lane: Lane, top: number, scale: Scale): string {
  const rows = lane.rows.map((row, index) => {
    const y = top + LANE_LABEL + index * (ROW + ROW_GAP);
    const track = `<rect class="track" x="0" y="${y}" width="100%" height="${ROW}" rx="3"/>`;
    return [track, ...row.map((span) => spanSvg(span, y, scale))].join('\n');
  });
  return [`<text class="lane" x="0" y="${top + 12}">${esc(lane.name)}</text>`, ...rows].join('\n');
}

function spanSvg(span: Span, y: number, scale: Scale): string {
  const left = scale.at(span.from);
  const width = Math.max(0, scale.at(span.to) - left);
  const moment = span.from === span.to;
  // What was over in no time is still to be seen, also at the right edge.
  const x = moment ? `calc(${percent(left)} - ${(left / 100) * 6}px)` : percent(left);
  const shape = moment
    ? `<rect class="span ${span.tone}" style="x:${x};width:6px" y="${y}" height="${ROW}" rx="3"/>`
    : `<rect class="span ${span.tone}" x="${x}" y="${y}" height="${ROW}" rx="3" style="width:max(3px,${percent(width)})"/>`;
  return `<g><title>${esc(span.title)}</title>${shape}${labelSvg(span, left, width, y)}</g>`;
}

/** The label where it fits, from the width on where it does. */
function labelSvg(span: Span, left: number, width: number, y: number): string {
  const needs = [...span.label].length * CHARACTER + LABEL_SPACE;
  const fitting = WIDTHS.find(({ px }) => (px * width) / 100 >= needs);
  if (fitting === undefined) return '';
  const classes = `${span.tone} ${fitting.className}`.trim();
  return `<text class="${classes}" x="${percent(left + width / 2)}" y="${y + 13}" text-anchor="middle">${esc(span.label)}</text>`;
}

function percent(value: number): string {
  return `${Number(value.toFixed(3))}%`;
}
