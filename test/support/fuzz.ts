/**
 * How many cases a property is tried with: few by default, `METAWSM_FUZZ_RUNS` where it is set (`npm run
 * test:fuzz` says 10000). To be used as the parameters of `fc.assert`.
 */
export function fuzz(runs = 60): { readonly numRuns: number } {
  return { numRuns: Number(process.env.METAWSM_FUZZ_RUNS ?? runs) };
}

/** For the test around them: so many cases take their time. */
export const LONG = { timeout: process.env.METAWSM_FUZZ_RUNS === undefined ? 60_000 : 3_600_000 };

/** What acts on a terminal or turns the reading direction. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
export const ACTS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;
