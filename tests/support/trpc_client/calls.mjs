// Reads a list of clients with their calls from standard input, makes the calls of each client at once, and prints
// what came back: [[{data} | {error: {name, message, data}}]], in the order given.
import { readFileSync } from "node:fs";
import * as trpc from "@trpc/client";

const LINKS = {
  httpLink: trpc.httpLink,
  httpBatchLink: trpc.httpBatchLink,
  httpBatchStreamLink: trpc.httpBatchStreamLink ?? trpc.unstable_httpBatchStreamLink,
};

async function outcome(client, { path, kind, input }) {
  const procedure = path.split(".").reduce((node, name) => node[name], client);
  try {
    const data = await procedure[kind === "mutation" ? "mutate" : "query"](input);
    return { undefined: data === undefined, data };
  } catch (error) {
    return { error: { name: error.name, message: error.message, data: error.data } };
  }
}

function run({ link, url, token, options, calls }) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const client = trpc.createTRPCClient({ links: [LINKS[link]({ url, headers, ...options })] });
  return Promise.all(calls.map((call) => outcome(client, call)));
}

const clients = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(await Promise.all(clients.map(run))));
