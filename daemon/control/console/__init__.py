"""The console: pages for people, made on the server, kept live by server-sent events. It works without JavaScript."""
