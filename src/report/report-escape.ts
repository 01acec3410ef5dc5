/** Texts of unknown origin as parts of a page: they say nothing to HTML, and nothing to Markdown. */
import { safeText } from '../tools/files.js';

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
};

/** A text as HTML text or as the value of a quoted attribute. Line breaks stay. */
export function htmlText(text: string): string {
  return safeText(text).replace(/[&<>"'`]/g, (character) => ENTITIES[character] ?? '');
}

/**
 * Invisible and without width. Between the characters that would make a mention, a reference to an issue or a link
 * it keeps them apart, also for programs that look for those only after entities were resolved.
 */
const JOINER = '\u2060';

/** A text as one line of Markdown, also in a cell of a table; its line breaks are `<br>`. */
export function markdownText(text: string): string {
  return escaped(
    safeText(text)
      .trim()
      .replace(/([@#])(?=[\p{L}\p{N}_-])/gu, `$1${JOINER}`)
      .replace(/:(?=\/\/)/g, `:${JOINER}`)
      .replace(/\b(www)(?=\.)/gi, `$1${JOINER}`)
      .replace(/\b(GH)(?=-\d)/gi, `$1${JOINER}`),
  );
}

/** Without what would be read as Markdown or HTML. */
function escaped(text: string): string {
  return text
    .replace(/[&<>|`*_~[\]\\$#@]|^[-+=]|(?<=^\d{1,9})[.)]/gm, entity)
    .replace(/^[ \t]+/gm, (space) => '&nbsp;'.repeat(space.replaceAll('\t', '    ').length))
    .replace(/\n/g, '<br>');
}

function entity(character: string): string {
  return `&#${character.codePointAt(0)};`;
}

/** The same in the type of code. HTML's own element: a code span in a table would end at any `|`. */
export function markdownCode(text: string): string {
  const shown = markdownText(text);
  return shown === '' ? '' : `<code>${shown}</code>`;
}

/** A text of several lines to the letter, fenced so that nothing in it can end the fence. */
export function markdownFence(text: string): string {
  const safe = safeText(text).replace(/\n+$/, '');
  const longest = Math.max(0, ...[...safe.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = '`'.repeat(Math.max(3, longest + 1));
  return `${fence}text\n${safe}\n${fence}`;
}

/** A url that may be a link; null: it is anything else than a plain address on the web. */
export function webAddress(text: string | null): string | null {
  if (text === null || !URL.canParse(text)) return null;
  const url = new URL(text);
  const isWeb = url.protocol === 'https:' || url.protocol === 'http:';
  return isWeb && url.username === '' && url.password === '' ? url.href : null;
}

/** A web address as a link in Markdown. */
export function markdownLink(href: string): string {
  // Percent-encoded: nothing in it can end the brackets, and a cell's border is no part of an address.
  const target = href.replace(/[\\<>|`()[\]*_~"'{}\s]/g, (character) => {
    return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
  });
  return `[${escaped(href)}](<${target}>)`;
}
