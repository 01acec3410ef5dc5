/**
 * One connection to a SQLite database. Every statement goes through one chain, because statements of two
 * tasks on one connection would otherwise end up in each other's transactions.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Database as Connection } from 'sqlite3';
import { databaseProblem, StateProblem } from './problem.js';

export type SqlValue = string | number | null;
export type Row = Readonly<Record<string, SqlValue>>;

/** How long a statement waits for another process's write, in milliseconds. */
const BUSY_TIMEOUT = 5000;

export class Database {
  readonly #scope = new AsyncLocalStorage<Transaction>();
  readonly #chain = new Chain();
  #closing: Promise<void> | null = null;
  #frozen: Error | null = null;

  private constructor(
    private readonly connection: Connection,
    /** Path of the file, for messages. */
    readonly file: string,
  ) {}

  /**
   * Opens a database for reading and writing: WAL, synchronous=FULL, foreign keys, busy timeout.
   * Throws `StateProblem`, also where the file is none of SQLite's.
   */
  static async open(file: string, options: { readonly create: boolean }): Promise<Database> {
    const { default: sqlite3 } = await import('sqlite3');
    const flags = sqlite3.OPEN_READWRITE | (options.create ? sqlite3.OPEN_CREATE : 0);
    const db = new Database(await connect(sqlite3.Database, file, flags, file), file);
    try {
      // The first statement tells a database from garbage, before anything is written.
      await db.get('PRAGMA user_version');
      const mode = await patiently(() => db.get('PRAGMA journal_mode = WAL'));
      if (mode?.journal_mode !== 'wal') {
        throw new StateProblem(
          'state_no_wal',
          `${file} cannot be kept in WAL mode here (it stays ${mode?.journal_mode})`,
          'Name a state folder on a local disk with --state.',
        );
      }
      await db.exec('PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;');
      return db;
    } catch (error) {
      await db.close().catch(() => {});
      throw error;
    }
  }

  /** An empty database in memory, into which others can be attached. `file` is used in messages only. */
  static async inMemory(file: string): Promise<Database> {
    const { default: sqlite3 } = await import('sqlite3');
    const flags = sqlite3.OPEN_READWRITE | sqlite3.OPEN_CREATE | sqlite3.OPEN_URI;
    return new Database(await connect(sqlite3.Database, ':memory:', flags, file), file);
  }

  /** From now on every write throws `reason`: by default an error of the program. */
  freeze(reason: Error = new Error(`${this.file} was opened for reading only`)): void {
    this.#frozen = reason;
  }

  /** One statement that writes. Resolves to the number of rows that it changed. */
  async run(sql: string, params: readonly SqlValue[] = []): Promise<number> {
    this.#refuseWhenFrozen();
    checkParams(sql, params);
    return this.#statement(
      () =>
        new Promise((done, fail) => {
          this.connection.run(sql, params, function (error) {
            if (error === null) done(this.changes);
            else fail(error);
          });
        }),
    );
  }

  /** The first row, or undefined. */
  async get(sql: string, params: readonly SqlValue[] = []): Promise<Row | undefined> {
    return (await this.all(sql, params))[0];
  }

  /** All rows. */
  async all(sql: string, params: readonly SqlValue[] = []): Promise<Row[]> {
    checkParams(sql, params);
    return this.#statement(
      () =>
        new Promise((done, fail) => {
          this.connection.all<Row>(sql, params, (error, rows) => {
            if (error === null) done(rows);
            else fail(error);
          });
        }),
    );
  }

  /** Several statements; to be all or nothing they need a transaction around them. */
  async exec(sql: string): Promise<void> {
    this.#refuseWhenFrozen();
    await this.#statement(
      () =>
        new Promise<void>((done, fail) => {
          this.connection.exec(sql, (error) => (error === null ? done() : fail(error)));
        }),
    );
  }

  /**
   * Runs `fn` so that all it writes becomes durable at once or not at all. Every use of this database inside
   * of `fn` belongs to the transaction; an inner `transaction` joins the outer one, and when it fails, so does
   * the outer one, even if its error is caught.
   */
  async transaction<T>(fn: () => Promise<T>): Promise<T> {
    this.#refuseWhenFrozen();
    return this.#within('write', fn);
  }

  /** Runs `fn`, whose reads all see the database at one moment. */
  async snapshot<T>(fn: () => Promise<T>): Promise<T> {
    return this.#within('read', fn);
  }

  async #within<T>(kind: 'read' | 'write', fn: () => Promise<T>): Promise<T> {
    const outer = this.#scope.getStore();
    if (outer?.open === true) {
      if (kind === 'write' && outer.kind === 'read') throw new Error('a write inside of a snapshot');
      try {
        return await fn();
      } catch (error) {
        outer.failure ??= { error };
        throw error;
      }
    }
    return this.#chain.add(async () => {
      const scope = new Transaction(kind);
      // IMMEDIATE: a transaction that reads first and then writes fails at once when another process wrote.
      await this.#direct(() => this.#command(kind === 'write' ? 'BEGIN IMMEDIATE' : 'BEGIN'));
      try {
        const result = await this.#scope.run(scope, fn);
        await scope.chain.drained();
        if (scope.failure !== null) throw scope.failure.error;
        await this.#direct(() => this.#command('COMMIT'));
        return result;
      } catch (error) {
        await scope.chain.drained();
        // After a full disk SQLite has already rolled back and says so; the first error is the one that counts.
        await this.#command('ROLLBACK').catch(() => {});
        throw error;
      } finally {
        scope.open = false;
      }
    });
  }

  /** Waits for what was asked and closes. Closing twice is fine. */
  close(): Promise<void> {
    this.#closing ??= this.#chain.add(() =>
      this.#direct(
        () =>
          new Promise<void>((done, fail) => {
            this.connection.close((error) => (error === null ? done() : fail(error)));
          }),
      ),
    );
    return this.#closing;
  }

  #statement<T>(call: () => Promise<T>): Promise<T> {
    const scope = this.#scope.getStore();
    if (scope?.open !== true) return this.#chain.add(() => this.#direct(call));
    return scope.chain.add(async () => {
      if (scope.failure !== null) throw scope.failure.error;
      try {
        return await this.#direct(call);
      } catch (error) {
        // SQLite may have rolled back by itself: what followed would be written on its own.
        if (error instanceof StateProblem) scope.failure = { error };
        throw error;
      }
    });
  }

  async #direct<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      throw databaseProblem(error, this.file);
    }
  }

  #command(sql: string): Promise<void> {
    return new Promise((done, fail) => {
      this.connection.run(sql, (error: Error | null) => (error === null ? done() : fail(error)));
    });
  }

  #refuseWhenFrozen(): void {
    if (this.#frozen !== null) throw this.#frozen;
  }
}

/** Runs what it is given one after the other, whatever fails. */
class Chain {
  #tail: Promise<unknown> = Promise.resolve();

  add<T>(fn: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(fn);
    this.#tail = result.catch(() => {});
    return result;
  }

  async drained(): Promise<void> {
    for (let seen: unknown = null; seen !== this.#tail; ) {
      seen = this.#tail;
      await seen;
    }
  }
}

class Transaction {
  readonly chain = new Chain();
  open = true;
  failure: { readonly error: unknown } | null = null;

  constructor(readonly kind: 'read' | 'write') {}
}

function connect(
  Driver: new (file: string, flags: number, done: (error: Error | null) => void) => Connection,
  name: string,
  flags: number,
  file: string,
): Promise<Connection> {
  return new Promise((done, fail) => {
    const connection = new Driver(name, flags, (error) => {
      if (error !== null) {
        fail(databaseProblem(error, file));
        return;
      }
      connection.configure('busyTimeout', BUSY_TIMEOUT);
      done(connection);
    });
  });
}

/** Switching to WAL can be refused at once while another process does the same: SQLite does not wait there. */
async function patiently<T>(call: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + BUSY_TIMEOUT;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const busy = error instanceof StateProblem && error.code === 'state_busy';
      if (!busy || performance.now() >= deadline) throw error;
      await new Promise((done) => setTimeout(done, 10 + Math.random() * 40));
    }
  }
}

/** A missing or undefined parameter would silently be NULL. */
function checkParams(sql: string, params: readonly SqlValue[]): void {
  const wanted = sql.match(/\?/g)?.length ?? 0;
  if (wanted !== params.length)
    throw new Error(`${params.length} parameters for ${wanted} places in: ${sql}`);
  if (params.some((value) => value === undefined)) throw new Error(`an undefined parameter in: ${sql}`);
}
