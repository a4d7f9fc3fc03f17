"""The host command file: a request and its result as files in a folder that a machine and its host share.

Both ends stand on this package: the listener (`daemon.host`) and the writer (`daemon.client.CommandFile`).
"""
