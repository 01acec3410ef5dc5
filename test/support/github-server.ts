import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import path from 'node:path';

/** A pull request as GitHub keeps it. */
export interface ServedPr {
  readonly number: number;
  readonly url: string;
  readonly headRefName: string;
  readonly baseRefName: string;
  readonly title: string;
  readonly body: string;
  state: 'OPEN' | 'CLOSED' | 'MERGED';
}

export interface GitHubServer {
  /** The socket that gh is to be pointed at (`http_unix_socket` in its `config.yml`). */
  readonly socket: string;
  /** All pull requests, oldest first. */
  readonly prs: readonly ServedPr[];
  /** What gh asked for that this server does not know. */
  readonly foreign: readonly string[];
  close(): Promise<void>;
}

/** Stands in for GitHub behind a real gh: one repository, `acme/api`, and what `gh pr` asks of its GraphQL API. */
export async function startGitHubServer(folder: string): Promise<GitHubServer> {
  const socket = path.join(folder, 'gh.sock');
  const prs: ServedPr[] = [];
  const foreign: string[] = [];
  const server = createServer((request, response) => {
    answer(request, response, prs, foreign).catch((error: unknown) => response.destroy(error as Error));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return {
    socket,
    prs,
    foreign,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  prs: ServedPr[],
  foreign: string[],
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const send = (document: unknown) => {
    response.writeHead(200, { 'content-type': 'application/json', 'x-oauth-scopes': 'repo, read:org' });
    response.end(JSON.stringify(document));
  };
  // What `gh auth status` looks at is the header.
  if (request.method === 'GET' && request.url === '/') return send({});
  const { query, variables } = JSON.parse(Buffer.concat(chunks).toString('utf8') || '{}');
  const data = request.url === '/graphql' ? dataFor(String(query), variables, prs) : null;
  if (data !== null) return send({ data });
  foreign.push(`${request.method} ${request.url} ${query}`);
  response.writeHead(404).end();
}

/** The answer to one of the queries of gh, which names them; null: none of those. */
function dataFor(query: string, variables: Record<string, unknown>, prs: ServedPr[]): unknown {
  const owner = { id: 'U1', login: 'acme' };
  const shown = (pr: ServedPr) => ({
    ...pr,
    id: `P${pr.number}`,
    headRefOid: '0'.repeat(40),
    isCrossRepository: false,
    headRepositoryOwner: owner,
  });
  const [, name] = /(?:query|mutation) (\w+)/.exec(query) ?? [];
  switch (name) {
    case 'UserCurrent':
      return { viewer: { login: 'operator' } };
    case 'RepositoryInfo':
      return {
        repository: {
          id: 'R1',
          name: 'api',
          owner,
          viewerPermission: 'WRITE',
          defaultBranchRef: { name: 'main' },
          parent: null,
        },
      };
    case 'PullRequestList':
    case 'PullRequestForBranch': {
      const { headBranch, headRefName, baseBranch, state, states } = variables;
      const wanted = [state ?? states ?? ['OPEN']].flat();
      const nodes = prs
        .filter((pr) => pr.headRefName === (headBranch ?? headRefName) && wanted.includes(pr.state))
        .filter((pr) => baseBranch === undefined || pr.baseRefName === baseBranch)
        .map(shown);
      const pageInfo = { hasNextPage: false, endCursor: '' };
      return {
        repository: {
          pullRequests: { totalCount: nodes.length, nodes, pageInfo },
          defaultBranchRef: { name: 'main' },
        },
      };
    }
    case 'PullRequestCreate': {
      const { headRefName, baseRefName, title, body } = variables.input as ServedPr;
      const number = prs.length + 1;
      const url = `https://github.com/acme/api/pull/${number}`;
      prs.push({ number, url, headRefName, baseRefName, title, body, state: 'OPEN' });
      return { createPullRequest: { pullRequest: { id: `P${number}`, url } } };
    }
    default:
      return null;
  }
}
