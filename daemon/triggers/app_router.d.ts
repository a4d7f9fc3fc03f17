// The type of the tRPC router of refreshd, for `createTRPCClient<AppRouter>` of @trpc/client 11. Written by a program.
import type { TRPCMutationProcedure, TRPCQueryProcedure, TRPCSubscriptionProcedure } from "@trpc/server";
import type { BuiltRouter, DefaultErrorShape } from "@trpc/server/unstable-core-do-not-import";

interface Root {
  ctx: object;
  meta: object;
  /** `refreshdCode` says what was wrong in refreshd's own words, such as `update_running`. */
  errorShape: DefaultErrorShape & { data: { refreshdCode?: string } };
  transformer: false;
}
type Query<I, O> = TRPCQueryProcedure<{ input: I; output: O; meta: unknown }>;
type Mutation<I, O> = TRPCMutationProcedure<{ input: I; output: O; meta: unknown }>;
type Events<O> = AsyncIterable<{ id: string; data: O }, void, unknown>;
type Subscription<I, O> = TRPCSubscriptionProcedure<{ input: I; output: Events<O>; meta: unknown }>;

/** What an update changed on disk, by content; the lists are cut at a bound, the counts are not. */
export interface Changes {
  added: number;
  changed: number;
  deleted: number;
  /** `A path`, `M path`, `D path`; at most 200 of them. */
  files: readonly string[];
}

export interface DiffInput {
  /** The id of a snapshot. */
  a: string;
  /** The id of another, or `now`: the checkout as it is. */
  b?: string;
}

export interface GetUpdateInput {
  id: string;
}

/** What the checkout held at some moment. `update` is the one that it was taken before. */
export interface KeptSnapshot {
  id: string;
  takenAt: string;
  label: string;
  update: string | null;
  /** The commit that HEAD named then. */
  head: string | null;
}

export interface LastUpdate {
  id: string;
  state: State;
  targetRef: string;
  fromCommit: string | null;
  toCommit: string | null;
  finishedAt: string | null;
}

export interface ListInput {
  limit?: number;
  /** `nextCursor` of the page before; without it, the newest. */
  cursor?: string | null;
}

/** What the checkout holds now. `dirty` was true or false at `dirty_at`; None when git could not tell. */
export interface OnDisk {
  sha: string | null;
  dirty: boolean | null;
  dirtyAt: string | null;
}

export interface OnUpdateInput {
  /** Without it, the update that is under way, or the next one. */
  id?: string | null;
  /** The id of the event that was seen last; the client sends it by itself when it comes back. */
  lastEventId?: string | null;
}

/** What an update would do; `nothing to do` is one of its ordinary answers. */
export interface Plan {
  targetRef: string;
  source: string;
  fromCommit: string | null;
  toCommit: string | null;
  ref: string | null;
  /** The checkout would be changed. */
  apply: boolean;
  /** Installers that would run. */
  install: readonly string[];
  /** The daemon would restart. */
  restart: boolean;
  /** Committed changes from here to there, where git knows them. */
  changes: Changes | null;
  notes: readonly string[];
}

export interface PlanUpdateInput {
  /** A branch, a tag, a full name under refs/, or a full commit id. */
  targetRef: string;
  /** For the git remote, for this update alone; stored nowhere. */
  gitToken?: string | null;
}

/** Where the local edits are that the update found. */
export interface Preserved {
  snapshot: string;
  /** At most 200 of them. */
  files: readonly string[];
  total: number;
}

/** An error as it is recorded and shown: a code to branch on, a sentence, and the tail of a child's output. */
export interface Problem {
  code: string;
  message: string;
  detail: string;
}

export interface RestoreInput {
  /** Of a snapshot, or the beginning of one that names no other. */
  id: string;
  /** Files or folders of the checkout, literally; without them, everything. */
  paths?: readonly string[] | null;
  /** For the git remote, where it has to vouch for the commit of then; stored nowhere. */
  gitToken?: string | null;
}

/** `before` is the snapshot of what the restored files replaced. */
export interface Restored {
  id: string;
  before: string;
  changes: Changes;
}

export interface RollbackInput {
  /** The update; without it, the last that succeeded. */
  id?: string | null;
  /** The same key is the same request. */
  idempotencyKey?: string | null;
  /** For the git remote, where it has to vouch for the commit of then; stored nowhere. */
  gitToken?: string | null;
}

/** What the process started from. */
export interface Running {
  sha: string | null;
  version: string;
}

export interface SelfUpdateInput {
  /** A branch, a tag, a full name under refs/, or a full commit id. */
  targetRef: string;
  /** For the git remote, for this update alone; stored nowhere. */
  gitToken?: string | null;
  /** Also to a commit that did not run when it was tried before. */
  force?: boolean;
  /** The same key is the same request. */
  idempotencyKey?: string | null;
}

/** What one has to do to `a` to get `b`; `b` is `now` for the checkout as it is. */
export interface SnapshotDiff {
  a: string;
  b: string;
  changes: Changes;
}

export interface SnapshotInput {
  /** Of a snapshot, or the beginning of one that names no other. */
  id: string;
}

/** As UpdatePage. */
export interface SnapshotPage {
  snapshots: readonly KeptSnapshot[];
  nextCursor: string | null;
}

/** `edits`: what differs from the commit of then; None where that is not in the checkout any more. */
export interface SnapshotReport {
  id: string;
  takenAt: string;
  label: string;
  update: string | null;
  /** The commit that HEAD named then. */
  head: string | null;
  edits: Changes | null;
}

export type State = "requested" | "staging" | "applying" | "installing" | "checking" | "restarting" | "verifying" | "succeeded" | "unchanged" | "failed" | "rolled_back" | "inconsistent";

/** One state that the update was in; `seconds` is None while it lasts. */
export interface Step {
  state: State;
  startedAt: string;
  seconds: number | null;
}

/** The record of one refresh, folded from its journal. */
export interface Update {
  id: string;
  request: UpdateRequest;
  state: State;
  source: string | null;
  fromCommit: string | null;
  toCommit: string | null;
  /** The full name that the target resolved to, where it was a name. */
  ref: string | null;
  message: string;
  /** What the caller should know although nothing failed. */
  notes: readonly string[];
  error: Problem | null;
  /** Why the way back failed, too. */
  undoError: Problem | null;
  changes: Changes | null;
  /** What the checkout held before; a rollback goes back to it. */
  snapshot: string | null;
  /** Content id of the checkout as the update left it. */
  tree: string | null;
  /** The input of the dependencies that belong to it, by installer. */
  installed: Record<string, string>;
  preserved: Preserved | null;
  steps: readonly Step[];
  startedAt: string;
  finishedAt: string | null;
  lastSeq: number;
}

/** `next_cursor` asks for the page after it; None at the end of the list. */
export interface UpdatePage {
  updates: readonly Update[];
  nextCursor: string | null;
}

/** What was asked for. `target_ref` has passed `refs.parse_*`; a branch is kept as `refs/heads/…`. */
export interface UpdateRequest {
  targetRef: string;
  /** Who asked: trpc, rest, page, command_file, guard, boot. */
  trigger: string;
  idempotencyKey: string | null;
  /** Also to a commit that did not run when it was tried before. */
  force: boolean;
  /** Who asked, as the audit lines of the log name them. */
  by: string | null;
  /** The update whose state before it is to be restored. */
  rollbackOf: string | null;
}

/** What tRPC's callers get for an update. `success` says that the new code is in place, or that it was there. */
export interface UpdateResult {
  success: boolean;
  message: string;
  updateId: string;
  from: string | null;
  to: string | null;
  outcome: State;
  notes: readonly string[];
  /** The tail of what a child printed, where the update failed. */
  log: string;
}

/** `sha` is what `git rev-parse HEAD` says now; the rest tells the truth around it. */
export interface Version {
  sha: string | null;
  running: Running;
  onDisk: OnDisk;
  dirty: boolean | null;
  /** Equal ids mean equal files, edits included. The tree of the commit while nothing differs. */
  treeId: string | null;
  environment: string;
  bootId: string;
  startedAt: string;
  osSha: string | null;
  /** The control plane's commit differs; None when it is unknown. */
  updateAvailable: boolean | null;
  lastUpdate: LastUpdate | null;
}

export type AppRouter = BuiltRouter<Root, {
  getVersion: Query<void, Version>;
  planUpdate: Mutation<PlanUpdateInput, Plan>;
  selfUpdate: Mutation<SelfUpdateInput, UpdateResult>;
  rollback: Mutation<RollbackInput | undefined, UpdateResult>;
  getUpdate: Query<GetUpdateInput, Update>;
  listUpdates: Query<ListInput | undefined, UpdatePage>;
  onUpdate: Subscription<OnUpdateInput | undefined, Update>;
  snapshots: {
    list: Query<ListInput | undefined, SnapshotPage>;
    show: Query<SnapshotInput, SnapshotReport>;
    diff: Query<DiffInput, SnapshotDiff>;
    restore: Mutation<RestoreInput, Restored>;
  };
}>;
