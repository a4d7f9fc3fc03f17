// What a typed client may do: it has to compile.
import { createTRPCClient, httpBatchLink, TRPCClientError } from "@trpc/client";
import type { AppRouter as ControlRouter, MachineView, RefreshResult } from "./control.js";
import type { AppRouter, State, Update, Version } from "./refreshd.js";

const client = createTRPCClient<AppRouter>({ links: [httpBatchLink({ url: "http://machine:3000/api/trpc" })] });

const version: Version = await client.getVersion.query();
const sha: string | null = version.running.sha;
const done = await client.selfUpdate.mutate({ targetRef: "main", idempotencyKey: "once" });
const told: [boolean, string | null, string | null] = [done.success, done.from, done.to];
const plan: readonly string[] = (await client.planUpdate.mutate({ targetRef: "v1" })).install;
const back: State = (await client.rollback.mutate()).outcome;
const update: Update = await client.getUpdate.query({ id: done.updateId });
const next: string | null = (await client.listUpdates.query({ limit: 10 })).nextCursor;
const label: string | undefined = (await client.snapshots.list.query()).snapshots[0]?.label;
await client.snapshots.restore.mutate({ id: "1a2b", paths: ["src/main.py"] });

client.onUpdate.subscribe({ id: done.updateId }, {
  onData: ({ id, data }) => console.log(id.length, data.steps.map((step) => step.seconds), data.error?.code),
});
client.onUpdate.subscribe(undefined, { onComplete: () => console.log("ended") });

try {
  await client.getVersion.query();
} catch (error) {
  if (!(error instanceof TRPCClientError)) throw error;
  const known: TRPCClientError<AppRouter> = error;
  const code: string | undefined = known.data?.refreshdCode;
  console.log(code);
}
console.log(sha, told, plan, back, update, next, label);

const control = createTRPCClient<ControlRouter>({ links: [httpBatchLink({ url: "http://control:4000/api/trpc" })] });

const machines: readonly MachineView[] = await control.machine.list.query();
const running: string | null | undefined = (await control.machine.get.query({ id: "local-docker.m" })).version?.running.sha;
const refreshed: RefreshResult = await control.machine.refreshCode.mutate({ id: "local-docker.m", targetRef: "main" });
await control.machine.restart.mutate({ id: "local-docker.m" });
control.machine.onChange.subscribe(undefined, { onData: ({ data }) => console.log(data.id, data.machine?.operation?.step) });
console.log(machines.map(({ state, updateAvailable }) => [state, updateAvailable]), running, refreshed.from);
