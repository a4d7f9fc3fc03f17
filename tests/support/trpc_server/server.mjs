// The reference: `@trpc/server`'s own HTTP server with one procedure, whose answer is the argument.
import { initTRPC } from '@trpc/server'
import { createHTTPServer } from '@trpc/server/adapters/standalone'

const t = initTRPC.create()
const answer = JSON.parse(process.argv[2])
const router = t.router({ getVersion: t.procedure.query(() => answer) })
const server = createHTTPServer({ router, basePath: '/api/trpc/' })
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
