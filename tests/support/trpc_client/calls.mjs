// Reads a list of clients with their calls from standard input, makes the calls of each client at once, and prints
// what came back: [[{data} | {error: {name, message, data}}]], in the order given. A subscription comes to
// {events, error?, complete}; with `until`, it is left after so many events; `once_open` is called when it is open.
import { EventSource } from "eventsource";
import { readFileSync } from "node:fs";
import * as trpc from "@trpc/client";

const LINKS = {
  httpLink: trpc.httpLink,
  httpBatchLink: trpc.httpBatchLink,
  httpBatchStreamLink: trpc.httpBatchStreamLink ?? trpc.unstable_httpBatchStreamLink,
};

function failure(error) {
  return { name: error.name, message: error.message, data: error.data };
}

function subscribed(client, procedure, { input, until, once_open }) {
  return new Promise((resolve) => {
    const told = { events: [], started: 0, complete: false };
    const subscription = procedure.subscribe(input, {
      onStarted: async () => {
        if (told.started++ === 0 && once_open) told.answer = await outcome(client, once_open);
      },
      onData: (event) => {
        told.events.push(event);
        if (told.events.length === until) {
          subscription.unsubscribe();
          resolve(told);
        }
      },
      onError: (error) => resolve({ ...told, error: failure(error) }),
      onComplete: () => resolve({ ...told, complete: true }),
    });
  });
}

async function outcome(client, call) {
  const { path, kind, input } = call;
  const procedure = path.split(".").reduce((node, name) => node[name], client);
  if (kind === "subscription") return subscribed(client, procedure, call);
  try {
    const data = await procedure[kind === "mutation" ? "mutate" : "query"](input);
    return { undefined: data === undefined, data };
  } catch (error) {
    return { error: failure(error) };
  }
}

function linkOf(link, url, headers, options) {
  if (link !== "httpSubscriptionLink") return LINKS[link]({ url, headers, ...options });
  return trpc.splitLink({
    condition: (operation) => operation.type === "subscription",
    true: subscriptionLink(url, headers, options),
    false: trpc.httpLink({ url, headers }),
  });
}

function subscriptionLink(url, headers, options) {
  const withHeaders = (address, init) => fetch(address, { ...init, headers: { ...init.headers, ...headers } });
  const subscription = trpc.httpSubscriptionLink ?? trpc.unstable_httpSubscriptionLink;
  return subscription({ url, EventSource, eventSourceOptions: { fetch: withHeaders }, ...options });
}

function run({ link, url, token, options, calls }) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const client = trpc.createTRPCClient({ links: [linkOf(link, url, headers, options)] });
  return Promise.all(calls.map((call) => outcome(client, call)));
}

globalThis.EventSource = EventSource; // the first releases need it even where one is passed in

const clients = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(await Promise.all(clients.map(run))));
process.exit(0); // nothing that still listens may hold up the end
