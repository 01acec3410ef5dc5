import { homedir } from 'node:os';
import { isAbsolute, resolve } from 'node:path';
import { quote } from './diagnostic.js';

/** Environment variables by name. */
export type Env = Readonly<Record<string, string | undefined>>;

export type Expanded =
  | {
      readonly ok: true;
      readonly value: string;
      /** Whether a part of the value came from `${NAME}`: such values may be secrets. */
      readonly fromEnv: boolean;
    }
  | { readonly ok: false; readonly message: string; readonly suggestion: string };

/** What an environment variable may be called. */
export const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Expands the value of an environment variable: a leading `~` or `~/`, `${NAME}`, and `$$` for a dollar. Any other
 * `$` stands for itself (`$NAME` too). Expanded text is not looked at again.
 */
export function expandEnvValue(text: string, env: Env): Expanded {
  const home = /^~(?=$|\/)/.test(text);
  const rest = expandVariables(home ? text.slice(1) : text, env);
  return rest.ok && home ? { ...rest, value: homeOf(env) + rest.value } : rest;
}

/** Expands a path and makes it absolute; relative ones start at `folder`. */
export function expandPath(text: string, env: Env, folder: string): Expanded {
  if (/^~[^/]/.test(text)) {
    return {
      ok: false,
      message: `the home folder of another user is not looked up: ${quote(text)}`,
      suggestion: 'write the path in full (or ./~… for a folder of that name)',
    };
  }
  const expanded = expandEnvValue(text, env);
  if (!expanded.ok) return expanded;
  if (expanded.value.trim() === '') {
    return {
      ok: false,
      message: `nothing is left of ${quote(text)}`,
      suggestion: 'set its variables to a path',
    };
  }
  if (expanded.value.includes('\0')) {
    return { ok: false, message: `${quote(text)} holds a NUL`, suggestion: 'set its variables to a path' };
  }
  return { ...expanded, value: resolve(folder, expanded.value) };
}

/** Expands `url:`. A local path becomes absolute; every other URL stands as written. */
export function expandUrl(text: string, env: Env, folder: string): Expanded {
  const refuse = (message: string, suggestion: string): Expanded => ({ ok: false, message, suggestion });
  if (text.startsWith('-'))
    return refuse(`the url ${quote(text)} begins with a dash`, 'write a URL or a path');
  if (/^[A-Za-z0-9+.-]*::/.test(text)) {
    return refuse(
      `the url ${quote(text)} names a transport helper, which could run any program`,
      'use https, ssh, git, http, file or a local path',
    );
  }
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/(.*)$/.exec(text);
  const isScpLike = scheme === null && /^[^/~$][^/]*:/.test(text);
  if (scheme === null && !isScpLike) return expandPath(text, env, folder);
  if (scheme !== null && !/^(https?|ssh|git|file|git\+ssh|ssh\+git)$/.test((scheme[1] ?? '').toLowerCase())) {
    return refuse(
      `the url ${quote(text)} has an unknown scheme`,
      'use https, ssh, git, http, file or a local path',
    );
  }
  // ssh would take a host that begins with a dash for an option.
  const rest = scheme === null ? text : (scheme[2] ?? '');
  const host = rest.slice(0, rest.search(/[/:]|$/)).replace(/^.*@/, '');
  const authority = rest.slice(0, rest.search(/\/|$/)).replace(/^.*@/, '');
  if (host.startsWith('-') || authority.startsWith('-') || rest.startsWith('-')) {
    return refuse(`the host in the url ${quote(text)} begins with a dash`, 'write the name of a host');
  }
  if (scheme !== null && (rest === '' || (authority === '' && scheme[1]?.toLowerCase() !== 'file'))) {
    return refuse(`the url ${quote(text)} has no host`, 'write it in full, such as https://host/path.git');
  }
  if (/\s/.test(text)) return refuse(`the url ${quote(text)} has a space`, 'write a space in a URL as %20');
  if (text.includes('${')) {
    return refuse(`the url ${quote(text)} would not be expanded`, 'write the URL out: it is stored as it is');
  }
  return { ok: true, value: text, fromEnv: false };
}

function expandVariables(text: string, env: Env): Expanded {
  let value = '';
  let fromEnv = false;
  let rest = text;
  for (;;) {
    const index = rest.indexOf('$');
    if (index < 0) return { ok: true, value: value + rest, fromEnv };
    value += rest.slice(0, index);
    rest = rest.slice(index);
    if (rest.startsWith('$$')) {
      value += '$';
      rest = rest.slice(2);
      continue;
    }
    if (!rest.startsWith('${')) {
      value += '$';
      rest = rest.slice(1);
      continue;
    }
    const end = rest.indexOf('}');
    if (end < 0) {
      return {
        ok: false,
        message: `\${ without } in ${quote(text)}`,
        suggestion: `write \${NAME}, or $\${ for the text itself`,
      };
    }
    const name = rest.slice(2, end);
    if (!ENV_NAME.test(name)) {
      return {
        ok: false,
        message: `\${${name}} in ${quote(text)} names no variable`,
        suggestion: `write \${NAME} with letters, digits and _, or $\${ for the text itself`,
      };
    }
    const found = Object.hasOwn(env, name) ? env[name] : undefined;
    if (found === undefined) {
      return {
        ok: false,
        message: `the environment variable ${name} is not set`,
        suggestion: `set ${name}, or write $\${${name}} for the text itself`,
      };
    }
    value += found;
    fromEnv = true;
    rest = rest.slice(end + 1);
  }
}

function homeOf(env: Env): string {
  const home = env.HOME;
  return home !== undefined && isAbsolute(home) ? home.replace(/(?<=.)\/+$/, '') : homedir();
}
