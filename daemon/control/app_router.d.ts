// The type of the tRPC router of refreshd's control plane, for `createTRPCClient<AppRouter>` of @trpc/client 11. Written by a program.
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

export type Activity = "refresh" | "rollback" | "restart" | "start" | "stop" | "archive" | "delete";

/** What an update changed on disk, by content; the lists are cut at a bound, the counts are not. */
export interface Changes {
  added: number;
  changed: number;
  deleted: number;
  /** `A path`, `M path`, `D path`; at most 200 of them. */
  files: readonly string[];
}

/** Without an id: the changes of all machines. What a reader has seen last does not matter: it is told anew. */
export interface ChangesInput {
  id?: string | null;
  lastEventId?: string | null;
}

export interface LastUpdate {
  id: string;
  state: State;
  targetRef: string;
  fromCommit: string | null;
  toCommit: string | null;
  finishedAt: string | null;
}

/** What is told of a machine that has changed. */
export interface MachineChange {
  id: string;
  /** Null for one that is not there any more. */
  machine: MachineView | null;
}

export interface MachineInput {
  id: string;
}

/** What the provider says, never what we hope for: it is looked at, not written down. */
export type MachineState = "running" | "starting" | "stopping" | "stopped" | "archived" | "failed" | "unknown";

/** Everything that is shown of one machine: what the provider says, what its daemon says, what we do to it. */
export interface MachineView {
  id: string;
  name: string;
  kind: "local-docker" | "daytona" | "local" | "local-vanilla";
  state: MachineState;
  detail: string;
  supports: readonly Activity[];
  /** The daemon answered when it was last asked. */
  reachable: boolean;
  /** Why it did not, in words. */
  problem: string;
  /** The last answer, which may be old where it is not reachable. */
  version: Version | null;
  seenAt: string | null;
  updateAvailable: boolean | null;
  /** What is being done to it. */
  operation: Operation | null;
  lastOperation: Operation | null;
}

/** What the checkout holds now. `dirty` was true or false at `dirty_at`; None when git could not tell. */
export interface OnDisk {
  sha: string | null;
  dirty: boolean | null;
  dirtyAt: string | null;
}

/** One thing that was done to a machine, or is being done: there is at most one of those. */
export interface Operation {
  id: string;
  machine: string;
  activity: Activity;
  targetRef: string;
  askedBy: string;
  askedAt: string;
  /** How far the update in the machine is. */
  step: State | null;
  finishedAt: string | null;
  result: RefreshResult | null;
}

export interface RefreshInput {
  id: string;
  targetRef?: string;
}

/** The answer of `refresh_code`. `success` was confirmed by a new process that runs the commit. */
export interface RefreshResult {
  success: boolean;
  message: string;
  /** An update's outcome, or unsupported, refused, unreachable, timed_out, stopped. */
  outcome: string;
  from: string | null;
  to: string | null;
  updateId: string | null;
  log: string;
  changes: Changes | null;
  steps: readonly Step[];
}

/** What the process started from. */
export interface Running {
  sha: string | null;
  version: string;
}

export type State = "requested" | "staging" | "applying" | "installing" | "checking" | "restarting" | "verifying" | "succeeded" | "unchanged" | "failed" | "rolled_back" | "inconsistent";

/** One state that the update was in; `seconds` is None while it lasts. */
export interface Step {
  state: State;
  startedAt: string;
  seconds: number | null;
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
  machine: {
    list: Query<void, readonly MachineView[]>;
    get: Query<MachineInput, MachineView>;
    restart: Mutation<MachineInput, RefreshResult>;
    refreshCode: Mutation<RefreshInput, RefreshResult>;
    onChange: Subscription<ChangesInput | undefined, MachineChange>;
  };
}>;
