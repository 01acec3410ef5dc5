const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;

/** The longest time that a timer can wait for: about 24 days. */
export const MAX_DURATION_MS = 2 ** 31 - 1;

/** `90s` in milliseconds; null when the text is no duration. */
export function parseDuration(text: string): number | null {
  const match = /^([0-9]{1,10})(ms|s|m|h)$/.exec(text);
  if (match === null) return null;
  return Number(match[1]) * UNIT_MS[match[2] as keyof typeof UNIT_MS];
}
