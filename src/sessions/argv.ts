/** How a declared command becomes an argv. */
import type { Command } from '../manifest/intent.js';
import { findProgram } from '../tools/process.js';

/** A list stays as it is; a string runs under bash, or sh where the environment's PATH has no bash. */
export function shellArgv(command: Command, env: NodeJS.ProcessEnv = process.env): string[] {
  if (typeof command !== 'string') return [...command];
  return [findProgram('bash', env) === null ? 'sh' : 'bash', '-c', command];
}
