/** The end of a switch over a union: the compiler finds a case that is missing, and a value that cannot be is said. */
export function unreachable(value: never): never {
  throw new Error(`there is no case for ${JSON.stringify(value)}`);
}
