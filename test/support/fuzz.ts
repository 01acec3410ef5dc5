import type fc from 'fast-check';

/**
 * How many cases a property is tried with: few by default, and the same ones each time, so that no change is blamed
 * for what another one did; `METAWSM_FUZZ_RUNS` new ones where that is set (`npm run test:fuzz` says 10000), whose
 * seed a failure names. To be used as the parameters of `fc.assert`.
 */
export function fuzz(runs = 60): fc.Parameters<unknown> {
  const long = process.env.METAWSM_FUZZ_RUNS;
  return long === undefined ? { numRuns: runs, seed: 2026 } : { numRuns: Math.max(runs, Number(long)) };
}

/** What acts on a terminal or turns the reading direction. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
export const ACTS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;
