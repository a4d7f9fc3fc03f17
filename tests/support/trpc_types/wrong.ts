// What a typed client must not do: each marked line has to be refused.
import { createTRPCClient, httpBatchLink } from "@trpc/client";
import type { AppRouter as ControlRouter } from "./control.js";
import type { AppRouter } from "./refreshd.js";

const client = createTRPCClient<AppRouter>({ links: [httpBatchLink({ url: "http://machine:3000/api/trpc" })] });

await client.selfUpdate.mutate({ target: "main" }); // wrong: there is no such field
await client.selfUpdate.mutate({ targetRef: 1 }); // wrong: a ref is a text
await client.selfUpdate.mutate(); // wrong: it needs an input
await client.selfUpdate.query({ targetRef: "main" }); // wrong: it is a mutation
await client.getversion.query(); // wrong: there is no such procedure
await client.snapshots.query(); // wrong: it is a folder of procedures
await client.listUpdates.query({ limit: "10" }); // wrong: a limit is a number
const sha: string = (await client.getVersion.query()).sha; // wrong: it may be null
const state: "done" = (await client.getUpdate.query({ id: "x" })).state; // wrong: there is no such state
client.onUpdate.subscribe({}, { onData: (event) => console.log(event.data.nothing) }); // wrong: no such field
console.log(sha, state);

const control = createTRPCClient<ControlRouter>({ links: [httpBatchLink({ url: "http://control:4000/api/trpc" })] });

await control.machine.get.query({}); // wrong: which machine?
await control.machine.delete.mutate({ id: "m" }); // wrong: there is no such procedure
const off: "off" = (await control.machine.get.query({ id: "m" })).state; // wrong: there is no such state
console.log(off);
