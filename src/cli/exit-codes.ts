/** Every exit code of metawsm, named here and nowhere else. */
export const EXIT = {
  done: 0,
  failed: 1,
  changes: 2,
  guidance: 3,
  refused: 4,
  timedOut: 5,
  usage: 64,
  invalid: 65,
  busy: 75,
  sigint: 130,
  sigterm: 143,
} as const;

/** What each code means, in the words of the help and the README. */
export const EXIT_MEANINGS: readonly (readonly [code: number, meaning: string])[] = [
  [EXIT.done, 'done, or nothing to do'],
  [EXIT.failed, 'a step, the agent or the program failed'],
  [EXIT.changes, 'only plan --detailed-exitcode: there are changes'],
  [EXIT.guidance, 'waiting for guidance (apply --wait, status --exit-code)'],
  [EXIT.refused, "refused: a gate, a criterion or the run's state does not allow it, or it needs --yes"],
  [EXIT.timedOut, 'timed out waiting'],
  [EXIT.usage, 'wrong usage'],
  [EXIT.invalid, 'invalid manifest'],
  [EXIT.busy, 'another process holds this run; try again'],
  [EXIT.sigint, 'interrupted (SIGINT)'],
  [EXIT.sigterm, 'interrupted (SIGTERM)'],
];

const WORST_FIRST: readonly number[] = [
  EXIT.sigint,
  EXIT.sigterm,
  EXIT.usage,
  EXIT.invalid,
  EXIT.failed,
  EXIT.refused,
  EXIT.busy,
  EXIT.timedOut,
  EXIT.guidance,
  EXIT.changes,
  EXIT.done,
];

/** The exit code of a command that handled several manifests. None: 0. A code that is not in the list counts as 1. */
export function worst(codes: readonly number[]): number {
  const known = codes.map((code) => (WORST_FIRST.includes(code) ? code : EXIT.failed));
  return WORST_FIRST.find((code) => known.includes(code)) ?? EXIT.done;
}
