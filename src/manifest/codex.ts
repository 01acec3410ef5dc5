import type { Command } from './intent.js';

/** Quotes in substitutions in quotes …: deeper is nobody's command, and would only exhaust the stack. */
const MAX_DEPTH = 100;

const FLAG = '--skip-git-repo-check';

/**
 * Gives every `codex exec` without `--skip-git-repo-check` that flag. A worktree is no folder that codex was told
 * to trust, and it ends at once there. In a string, only as the first words of a command: at the start, or after `&&`
 * or `;`, never inside quotes.
 */
export function trustCodex(command: Command): Command {
  if (typeof command === 'string') return trustInText(command);
  const isCodex = command[0] === 'codex' && command[1] === 'exec';
  if (!isCodex || beforeDashes(command).includes(FLAG)) return command;
  return ['codex', 'exec', FLAG, ...command.slice(2)];
}

/** A word as the shell sees it. */
interface Word {
  readonly text: string;
  /** Index in the command just after it. */
  readonly end: number;
  /** No quotes or escapes in it. */
  readonly isPlain: boolean;
}

function trustInText(command: string): string {
  const inserts: number[] = [];
  for (const words of commandsIn(command)) {
    const [program, verb] = words;
    if (program?.text !== 'codex' || verb?.text !== 'exec' || !program.isPlain || !verb.isPlain) continue;
    if (!beforeDashes(words.map((word) => word.text)).includes(FLAG)) inserts.push(verb.end);
  }
  const pieces = inserts.map((at, index) => `${command.slice(inserts[index - 1] ?? 0, at)} ${FLAG}`);
  return pieces.join('') + command.slice(inserts.at(-1) ?? 0);
}

/** What follows `--` are words for the agent and no flags. */
function beforeDashes(words: readonly string[]): readonly string[] {
  const end = words.indexOf('--');
  return end < 0 ? words : words.slice(0, end);
}

/** The words of each command that stands at the start or after `&&` or `;`. */
function commandsIn(text: string): Word[][] {
  const commands: Word[][] = [];
  let words: Word[] = [];
  let counts = true;
  let index = 0;
  const endCommand = (nextCounts: boolean) => {
    if (counts) commands.push(words);
    words = [];
    counts = nextCounts;
  };
  while (index < text.length) {
    const char = text[index] ?? '';
    if (char === '#') index = endOfLine(text, index);
    else if (text.startsWith('\\\n', index)) index += 2;
    else if (text.startsWith('&&', index)) {
      endCommand(true);
      index += 2;
    } else if (char === ';') {
      endCommand(true);
      index += 1;
    } else if (/[|&()\n]/.test(char)) {
      // `2>&1` and `&>file` belong to the command they stand in.
      const isRedirect = char === '&' && (text[index - 1] === '>' || text[index + 1] === '>');
      const isBlankLine = char === '\n' && words.length === 0;
      if (!isRedirect && !isBlankLine) endCommand(false);
      index += 1;
    } else if (/[\s<>]/.test(char)) index += 1;
    else {
      const word = wordAt(text, index);
      words.push(word);
      index = word.end;
    }
  }
  endCommand(false);
  return commands;
}

function wordAt(text: string, start: number): Word {
  let index = start;
  let value = '';
  let isPlain = true;
  while (index < text.length) {
    const char = text[index] ?? '';
    if (/[\s;&|()<>]/.test(char)) break;
    if (char === "'" || char === '"' || char === '`') {
      const end = endOfQuote(text, index);
      value += text.slice(index + 1, end - 1);
      isPlain = false;
      index = end;
    } else if (text.startsWith('$(', index)) {
      const end = endOfSubstitution(text, index);
      value += text.slice(index, end);
      isPlain = false;
      index = end;
    } else if (char === '\\') {
      value += text[index + 1] ?? '';
      isPlain = false;
      index = Math.min(index + 2, text.length);
    } else {
      value += char;
      index += 1;
    }
  }
  return { text: value, end: index, isPlain };
}

/** Index after the closing quote; the end of the text when there is none. */
function endOfQuote(text: string, start: number, depth = 0): number {
  if (depth > MAX_DEPTH) return text.length;
  const quote = text[start];
  let index = start + 1;
  while (index < text.length) {
    if (text[index] === quote) return index + 1;
    if (quote === '"' && text.startsWith('$(', index)) index = endOfSubstitution(text, index, depth + 1);
    else index += quote !== "'" && text[index] === '\\' ? 2 : 1;
  }
  return text.length;
}

/** Index after the `)` of a `$(…)`; the end of the text when there is none. */
function endOfSubstitution(text: string, start: number, depth = 0): number {
  let open = 0;
  let index = start + 1;
  while (index < text.length) {
    const char = text[index] ?? '';
    if (char === "'" || char === '"' || char === '`') {
      index = endOfQuote(text, index, depth + 1);
      continue;
    }
    if (char === '\\') index += 1;
    else if (char === '(') open += 1;
    else if (char === ')') {
      open -= 1;
      if (open === 0) return index + 1;
    }
    index += 1;
  }
  return text.length;
}

function endOfLine(text: string, start: number): number {
  const end = text.indexOf('\n', start);
  return end < 0 ? text.length : end;
}
