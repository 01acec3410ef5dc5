/**
 * Text of unknown origin that comes in pieces, such as a log: secrets masked and terminal sequences taken out,
 * also where a piece ends in the middle of one. Memory is bounded, whatever comes.
 */
import { safeText } from '../tools/files.js';

/** What comes in pieces goes through `write`; the rest is had with `end`. */
export interface TextFilter {
  write(text: string): string;
  end(): string;
}

/** Replaces secrets by `***`. Holds back no more than the length of the longest. */
export function masker(secrets: readonly string[]): TextFilter {
  // Longest first: one may be a part of another.
  const ordered = [...new Set(secrets)].filter((one) => one !== '').sort((a, b) => b.length - a.length);
  const longest = ordered[0]?.length ?? 0;
  let held = '';
  const replaced = (text: string): string =>
    ordered.reduce((masked, secret) => masked.replaceAll(secret, '***'), text);
  return {
    write(text) {
      const all = replaced(held + text);
      const keep = beginOfSecret(all, ordered, longest);
      held = all.slice(keep);
      return all.slice(0, keep);
    },
    end() {
      const rest = replaced(held);
      held = '';
      return rest;
    },
  };
}

/** Where the longest end of a text begins that a secret may begin with. */
function beginOfSecret(text: string, secrets: readonly string[], longest: number): number {
  for (let at = Math.max(0, text.length - longest + 1); at < text.length; at++) {
    const end = text.slice(at);
    if (secrets.some((secret) => secret.startsWith(end))) return at;
  }
  return text.length;
}

/** How long an unfinished terminal sequence may be before it counts as none. */
const LONGEST_SEQUENCE = 4_096;
const ESC = '\u001b';
/** A terminal sequence that has begun and not ended: CSI, strings, two-character ones, a lone ESC. */
const UNFINISHED = new RegExp(
  [
    `(?:${ESC}\\[|\u009b)[0-?]*[ -/]*$`,
    `(?:${ESC}[\\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\u0007${ESC}\u009c]*${ESC}?$`,
    `${ESC}[ -/]*$`,
    // It may be the first half of a line end.
    '\r$',
  ].join('|'),
);

/** Makes text safe to print, as `safeText` does for a whole one. */
export function cleaner(): TextFilter {
  let held = '';
  return {
    write(text) {
      const all = held + text;
      const from = Math.max(0, all.length - LONGEST_SEQUENCE);
      const found = UNFINISHED.exec(all.slice(from));
      const keep = found === null ? all.length : from + found.index;
      held = all.slice(keep);
      return safeText(all.slice(0, keep));
    },
    end() {
      const rest = safeText(held);
      held = '';
      return rest;
    },
  };
}

/** Several filters, one after the other. */
export function chained(...filters: readonly TextFilter[]): TextFilter {
  return {
    write: (text) => filters.reduce((passed, filter) => filter.write(passed), text),
    end: () => filters.reduce((passed, filter) => filter.write(passed) + filter.end(), ''),
  };
}

/** How much of a line is kept until it ends. */
const LONGEST_LINE = 65_536;

/** Splits what comes in pieces into lines, without their ends. A line that never ends comes in parts. */
export function lineSplitter(): { write(text: string): string[]; end(): string[] } {
  let held = '';
  return {
    write(text) {
      const lines = (held + text).split('\n');
      held = lines.pop() ?? '';
      const parts = lines.map((line) => line.replace(/\r$/, ''));
      while (held.length > LONGEST_LINE) {
        parts.push(held.slice(0, LONGEST_LINE));
        held = held.slice(LONGEST_LINE);
      }
      return parts;
    },
    end() {
      const rest = held === '' ? [] : [held];
      held = '';
      return rest;
    },
  };
}
