/**
 * The candidate that a mistyped word was most likely meant to be, or null when none is near: the same but for case
 * and dashes, an abbreviation (`cmd`), at most a third of its letters wrong, or a part of it (`criteria`).
 */
export function nearest(word: string, candidates: readonly string[]): string | null {
  if (word.length === 0 || word.length > 64) return null;
  const wanted = plain(word);
  const same = candidates.find((candidate) => plain(candidate) === wanted);
  const long = candidates.find((candidate) => wanted.length >= 3 && isAbbreviation(wanted, plain(candidate)));
  if (same !== undefined || long !== undefined) return same ?? long ?? null;
  let best: { candidate: string; distance: number } | null = null;
  for (const candidate of candidates) {
    const distance = editDistance(wanted, plain(candidate));
    if (best === null || distance < best.distance) best = { candidate, distance };
  }
  if (best !== null && best.distance <= Math.max(1, Math.floor(wanted.length / 3))) return best.candidate;
  return candidates.find((candidate) => wanted.length >= 4 && plain(candidate).includes(wanted)) ?? null;
}

/** `did you mean x?`, else null. */
export function didYouMean(word: string, candidates: readonly string[]): string | null {
  const candidate = nearest(word, candidates);
  return candidate === null ? null : `did you mean ${candidate}?`;
}

function plain(word: string): string {
  return word.toLowerCase().replace(/[-_ ]/g, '');
}

/** Whether a word has the same first letter and no letters that the other lacks, in the same order. */
function isAbbreviation(word: string, other: string): boolean {
  let index = 0;
  for (const letter of other) if (letter === word[index]) index += 1;
  return index === word.length && word[0] === other[0];
}

/** Insertions, deletions, replacements and swaps of neighbours that turn one word into the other. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
      }
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
