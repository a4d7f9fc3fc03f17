"""REST over real sockets: what it answers, to whom, and how it refuses."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.running import TOKEN, Served, served
from tests.support.world import git

API = "/api/v1"


def upstream(world: Served, content: str) -> str:
    """A commit that only the remote has."""
    (world.repo / "file").write_text(content)
    git(world.repo, "commit", "--quiet", "--all", "--message", content)
    git(world.repo, "push", "--quiet", "origin", "HEAD:main")
    commit = git(world.repo, "rev-parse", "HEAD")
    git(world.repo, "reset", "--quiet", "--hard", "HEAD~1")
    return commit


async def test_health_names_version_commit_and_boot_id(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        answer = await world.get("/healthz", tcp=True)
        assert answer.status == 200
        assert answer.json["boot_id"] == world.daemon.version.boot_id
        assert answer.json["sha"] == git(world.repo, "rev-parse", "HEAD")


async def test_ready_is_said_only_after_the_daemon_asked_itself_and_not_while_it_leaves(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        assert (await world.get("/readyz")).status == 503
        world.daemon.ready.set()
        assert (await world.get("/readyz")).status == 200
        world.daemon.supervisor.leave()
        assert (await world.get("/readyz")).status == 503


async def test_version_tells_what_runs_and_what_is_on_disk(tmp_path: Path) -> None:
    async with served(tmp_path, ITERATE_GIT_SHA="f" * 40) as world:
        answer = (await world.get(f"{API}/version")).json
        sha = git(world.repo, "rev-parse", "HEAD")
        assert (answer["sha"], answer["running"]["sha"], answer["on_disk"]["sha"]) == (sha, sha, sha)
        assert (answer["environment"], answer["update_available"], answer["dirty"]) == ("daytona", True, False)


async def test_the_environment_is_told_with_its_evidence(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        answer = (await world.get(f"{API}/environment")).json
        assert (answer["name"], answer["overridden"], answer["mount"]["present"]) == ("daytona", False, False)


async def test_an_update_is_accepted_with_a_location_and_goes_its_way(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        commit = upstream(world, "two")
        accepted = await world.post(f"{API}/update", {"branch": "main"})
        assert accepted.status == 202
        location = accepted.headers["Location"]
        assert location == f"{API}/updates/{accepted.json['id']}"
        await asyncio.wait_for(world.daemon.supervisor.leaving.wait(), 30)
        record = (await world.get(location)).json
        assert (record["state"], record["to_commit"]) == ("restarting", commit)
        assert record["changes"]["files"] == ["M file"]
        assert (world.repo / "file").read_text() == "two"


async def test_wait_answers_when_the_machine_is_about_to_restart(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        commit = upstream(world, "two")
        answer = await world.post(f"{API}/update", {"commit": commit, "wait": True})
        assert (answer.status, answer.json["state"]) == (200, "restarting")


async def test_a_dry_run_answers_with_the_plan(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        commit = upstream(world, "two")
        answer = await world.post(f"{API}/update", {"target_ref": "main", "dry_run": True})
        assert (answer.status, answer.json["to_commit"], answer.json["apply"]) == (200, commit, True)
        assert (await world.get(f"{API}/updates")).json == {"updates": [], "next_cursor": None}


async def test_history_is_newest_first_and_bounded(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        for _ in range(2):
            await world.post(f"{API}/update", {"branch": "missing", "wait": True})
        ids = [update["id"] for update in (await world.get(f"{API}/updates")).json["updates"]]
        assert ids == sorted(ids, reverse=True)
        assert len(ids) == 2
        page = (await world.get(f"{API}/updates?limit=1")).json
        assert [update["id"] for update in page["updates"]] == ids[:1]
        rest = (await world.get(f"{API}/updates?limit=1&cursor={page['next_cursor']}")).json
        assert ([update["id"] for update in rest["updates"]], rest["next_cursor"]) == (ids[1:], None)


@pytest.mark.parametrize("query", ["limit=x", "limit=0", "limit=201", "limit=1_0", "limit=%C2%B2", "cursor=x"])
async def test_a_page_that_is_none_is_refused(tmp_path: Path, query: str) -> None:
    async with served(tmp_path) as world:
        assert (await world.get(f"{API}/updates?{query}")).status == 400


async def test_a_version_that_has_not_changed_is_not_sent_again(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        first = await world.get(f"{API}/version")
        again = await world.get(f"{API}/version", If_None_Match=first.headers["ETag"])
        assert (again.status, again.text, again.headers["ETag"]) == (304, "", first.headers["ETag"])
        git(world.repo, "commit", "--quiet", "--allow-empty", "--message", "other")
        changed = await world.get(f"{API}/version", If_None_Match=first.headers["ETag"])
        assert (changed.status, changed.json["sha"]) == (200, git(world.repo, "rev-parse", "HEAD"))


@pytest.mark.parametrize("path", ["/healthz", f"{API}/version", f"{API}/updates", f"{API}/snapshots"])
async def test_what_can_be_read_answers_head_without_a_body(tmp_path: Path, path: str) -> None:
    async with served(tmp_path) as world:
        head = await world.request("HEAD", path)
        assert (head.status, head.text) == (200, "")
        assert head.headers["Content-Type"] == (await world.get(path)).headers["Content-Type"]


async def test_the_head_of_an_event_stream_ends(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        update = await world.daemon.journal.create({"request": {"target_ref": "main", "trigger": "test"}})
        head = await asyncio.wait_for(world.request("HEAD", f"{API}/updates/{update.id}/events"), 5)
        assert (head.status, head.headers["Content-Type"]) == (200, "text/event-stream")


async def test_events_carry_the_journal_and_resume_where_the_reader_was(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        failed = await world.post(f"{API}/update", {"branch": "missing", "wait": True})
        path = f"{API}/updates/{failed.json['id']}/events"
        whole = events(await world.get(path))
        assert [event.get("id") for event in whole] == ["1", "2", "3", None]
        assert [json.loads(event["data"])["state"] for event in whole] == ["requested", "staging", "failed", "failed"]
        assert whole[-1]["event"] == "end"
        resumed = events(await world.get(path, Last_Event_ID="2"))
        assert [event.get("id") for event in resumed] == ["3", None]
        assert (await world.get(path, Last_Event_ID="x")).status == 400


async def test_a_stream_is_ended_without_an_end_when_the_daemon_leaves(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        update = await world.daemon.journal.create({"request": {"target_ref": "main", "trigger": "test"}})
        reading = asyncio.create_task(world.get(f"{API}/updates/{update.id}/events"))
        await asyncio.sleep(0.2)
        world.daemon.supervisor.leave()
        assert [event["event"] for event in events(await asyncio.wait_for(reading, 10))] == ["entry", "leaving"]


def events(answer: object) -> list[dict[str, str]]:
    text = getattr(answer, "text")  # noqa: B009 - an Answer or a response
    blocks = [block for block in text.split("\n\n") if "event:" in block]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


# Refusals


@pytest.mark.parametrize(
    "ref",
    [
        "--upload-pack=x",
        "../x",
        "",
        "a" * 41,
        "x\x01y",
        "a b",
        "x\n",
        "-x",
        "x..y",
        "refs/heads/../x",
        "\ud800",
        "x" * 300,
    ],
)
async def test_a_bad_ref_is_refused_at_the_edge_and_nothing_is_recorded(tmp_path: Path, ref: str) -> None:
    async with served(tmp_path) as world:
        body = json.dumps({"target_ref": ref}).encode()
        answer = await world.request("POST", f"{API}/update", data=body, headers={"Content-Type": "application/json"})
        assert answer.status == 400
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert answer.json["code"] in {"invalid_ref", "bad_request"}
        assert await world.daemon.journal.history() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"target_ref": "a", "branch": "b"},
        {"branch": "a", "commit": "b" * 40},
        {"target_ref": 1},
        {"target_ref": None},
        {"target_ref": "main", "wait": "yes"},
        {"target_ref": "main", "unknown": 1},
        *({"target_ref": "main", "trigger": lie} for lie in ("guard", "boot", "page", "")),
        {"target_ref": "main", "idempotency_key": ""},
        {"target_ref": "main", "idempotency_key": "a\nb"},
        [],
        "main",
    ],
)
async def test_a_body_of_another_shape_is_refused_in_words(tmp_path: Path, body: object) -> None:
    async with served(tmp_path) as world:
        answer = await world.post(f"{API}/update", body)
        assert (answer.status, answer.json["code"]) == (400, "bad_request")
        assert answer.json["detail"].startswith("cannot read the request")


async def test_a_rollback_cannot_say_that_the_guard_asks(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        assert (await world.post(f"{API}/updates/last/rollback", {"trigger": "guard"})).status == 400
        camel = {"targetRef": "main", "trigger": "guard"}
        assert (await world.post("/api/trpc/selfUpdate", camel)).status == 400


async def test_what_is_no_json_or_no_utf8_or_too_deep_is_a_bad_request(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        for data in (b"{", b"\xff", b"[" * 50_000, b'{"target_ref": NaN}', b""):
            answer = await world.request(
                "POST", f"{API}/update", data=data, headers={"Content-Type": "application/json"}
            )
            assert answer.status == 400


async def test_a_form_of_another_site_is_not_read(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        answer = await world.request("POST", f"{API}/update", data={"target_ref": "main"})
        assert (answer.status, answer.json["code"]) == (415, "unsupported_media_type")


async def test_a_body_that_is_too_long_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        answer = await world.post(f"{API}/update", {"target_ref": "a" * 100_000})
        assert answer.status == 413
        assert answer.headers["Content-Type"].startswith("application/problem+json")


async def test_an_unknown_path_and_method_are_problem_documents(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        missing = await world.get("/nothing")
        assert (missing.status, missing.json["code"]) == (404, "not_found")
        wrong = await world.request("DELETE", f"{API}/update")
        assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("update_id", ["000001-abcdef", "..%2F..%2Fetc", "x"])
async def test_an_unknown_update_is_not_found(tmp_path: Path, update_id: str) -> None:
    async with served(tmp_path) as world:
        for path in (f"{API}/updates/{update_id}", f"{API}/updates/{update_id}/events"):
            assert (await world.get(path)).status == 404


async def test_a_defect_tells_nothing_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path) as world:

        async def fail() -> None:
            raise ValueError("secret detail")

        monkeypatch.setattr(world.daemon.version, "current", fail)
        answer = await world.get(f"{API}/version")
        assert (answer.status, answer.json["code"]) == (500, "internal")
        assert "secret" not in answer.text


# Who may


async def test_without_a_token_tcp_reads_from_loopback_and_changes_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        assert (await world.get(f"{API}/version", tcp=True)).status == 200
        refused = await world.post(f"{API}/update", {"branch": "main"}, tcp=True)
        assert (refused.status, refused.json["code"]) == (403, "forbidden")
        trpc = await world.post("/api/trpc/selfUpdate", {"targetRef": "main"}, tcp=True)
        assert (trpc.status, trpc.json["error"]["data"]["code"]) == (403, "FORBIDDEN")
        assert await world.daemon.journal.history() == []


@pytest.mark.parametrize("given", [None, "", "Bearer wrong", "Basic " + TOKEN, TOKEN, "Bearer", "Bearer \u00e9"])
async def test_with_a_token_tcp_wants_it_for_everything_but_the_probes(tmp_path: Path, given: str | None) -> None:
    async with served(tmp_path, REFRESHD_TOKEN=TOKEN) as world:
        headers = {"Authorization": given} if given is not None else {}
        answer = await world.get(f"{API}/version", tcp=True, **headers)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        update = await world.post(f"{API}/update", {"branch": "main"}, tcp=True, **headers)
        assert update.status == 401
        assert TOKEN not in answer.text + update.text
        assert (await world.get("/healthz", tcp=True)).status == 200
        right = await world.get(f"{API}/version", tcp=True, Authorization=f"Bearer {TOKEN}")
        assert right.status == 200


async def test_a_token_file_is_read_again_and_a_missing_one_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    async with served(tmp_path, REFRESHD_TOKEN_FILE=str(file)) as world:
        path = f"{API}/version"
        assert (await world.get(path, tcp=True, Authorization="Bearer first")).status == 200
        file.write_text("second\n")
        assert (await world.get(path, tcp=True, Authorization="Bearer first")).status == 401
        assert (await world.get(path, tcp=True, Authorization="Bearer second")).status == 200
        file.unlink()
        assert (await world.get(path, tcp=True, Authorization="Bearer second")).status == 500
        assert (await world.get(path)).status == 200


async def test_the_socket_belongs_to_user_and_group(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        assert world.socket.stat().st_mode & 0o777 == 0o660


# tRPC, the same application


async def test_trpc_answers_version_and_update(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        version = (await world.get("/api/trpc/getVersion")).json["result"]["data"]
        assert version["bootId"] == world.daemon.version.boot_id
        commit = upstream(world, "two")
        answer = await world.post("/api/trpc/selfUpdate", {"targetRef": commit})
        data = answer.json["result"]["data"]
        assert (data["success"], data["outcome"], data["to"]) == (True, "restarting", commit)


async def test_trpc_tells_a_failed_update_as_an_answer_and_a_bad_ref_as_an_error(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        failed = (await world.post("/api/trpc/selfUpdate", {"targetRef": "missing"})).json["result"]["data"]
        assert (failed["success"], failed["outcome"]) == (False, "failed")
        assert "nothing was changed" in failed["message"]
        bad = await world.post("/api/trpc/selfUpdate", {"targetRef": "--upload-pack=x"})
        assert (bad.status, bad.json["error"]["data"]["code"]) == (400, "BAD_REQUEST")


async def test_a_second_request_at_once_is_a_conflict_on_both_doors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path) as world:
        source = world.daemon.engine._m.source
        assert source
        hold, really = asyncio.Event(), source.stage

        async def slow(ref: object) -> object:
            await hold.wait()
            return await really(ref)  # type: ignore[arg-type]

        monkeypatch.setattr(source, "stage", slow)
        first = await world.post(f"{API}/update", {"branch": "main"})
        second = await world.post(f"{API}/update", {"branch": "other"})
        assert (second.status, second.json["update"]) == (409, first.json["id"])
        trpc = await world.post("/api/trpc/selfUpdate", {"targetRef": "other"})
        assert (trpc.status, trpc.json["error"]["data"]["code"]) == (409, "CONFLICT")
        joined = await world.post(f"{API}/update", {"branch": "main"})
        assert joined.json["id"] == first.json["id"]
        hold.set()
        streamed = await world.get(f"{API}/updates/{first.json['id']}/events")
        assert events(streamed)[-1]["event"] == "end"
