"""/metrics of a real daemon, read by Prometheus' own parser."""

import asyncio
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from daemon.metrics.leaving import leave_note
from tests.support.running import TOKEN, Served, served


async def samples(machine: Served) -> dict[tuple[str, tuple[str, ...]], float]:
    """By name and the values of the labels, in the order of the labels' names."""
    answer = await machine.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_an_update_that_failed_is_told_with_its_reason_and_its_steps(tmp_path: Path) -> None:
    async with served(tmp_path) as machine:
        (tmp_path / "state").mkdir(exist_ok=True)
        answer = await machine.post("/api/v1/update", {"target_ref": "no-such-branch", "wait": True})
        assert answer.json["state"] == "failed"
        found = await samples(machine)
    assert found["refreshd_updates_total", ("known", "failed", "git", "name")] == 1
    assert found["refreshd_update_errors_total", ("ref_not_found",)] == 1
    assert found["refreshd_update_step_seconds_count", ("staging",)] == 1
    assert found["refreshd_update_step_seconds_bucket", ("+Inf", "staging")] == 1
    assert found["refreshd_preserved_edits_total", ()] == 0


async def test_requests_are_told_by_the_pattern_of_their_path(tmp_path: Path) -> None:
    async with served(tmp_path) as machine:
        for name in ("a", "b", "c"):
            await machine.get(f"/api/v1/updates/{name}")
        await machine.get("/no/such/path")
        await machine.request("BREW", "/healthz")
        found = await samples(machine)
    assert found["refreshd_requests_total", ("GET", "/api/v1/updates/{id}", "4xx")] == 3
    assert found["refreshd_requests_total", ("GET", "other", "4xx")] == 1
    assert not any("BREW" in labels or "/no/such/path" in labels for _, labels in found)


async def test_refusals_are_told_by_their_code_whoever_asked(tmp_path: Path) -> None:
    async with served(tmp_path, REFRESHD_TOKEN=TOKEN) as machine:
        await machine.post("/api/v1/update", {"target_ref": "--bad"})
        await machine.post("/api/trpc/selfUpdate", {"targetRef": "--bad"})
        await machine.get("/api/v1/version", tcp=True)
        found = await samples(machine)
    assert found["refreshd_refused_total", ("invalid_ref",)] == 2
    assert found["refreshd_refused_total", ("unauthorized",)] == 1


async def test_the_process_and_what_it_is_are_told(tmp_path: Path) -> None:
    async with served(tmp_path, ITERATE_GIT_SHA="f" * 40) as machine:
        found = await samples(machine)
        machine.daemon.ready.set()
        later = await samples(machine)
    assert found["process_resident_memory_bytes", ()] > 1024**2
    assert (found["refreshd_ready", ()], later["refreshd_ready", ()]) == (0, 1)
    assert found["refreshd_update_available", ()] == 1
    assert any(name == "refreshd_info" and labels[0] == "daytona" for name, labels in found)


async def test_metrics_want_the_token_over_tcp(tmp_path: Path) -> None:
    async with served(tmp_path, REFRESHD_TOKEN=TOKEN) as machine:
        assert (await machine.get("/metrics", tcp=True)).status == 401
        assert (await machine.get("/metrics", tcp=True, Authorization=f"Bearer {TOKEN}")).status == 200


async def test_how_long_the_process_before_took_to_leave_is_told_where_it_left_a_note(tmp_path: Path) -> None:
    async with served(tmp_path) as machine:
        assert ("refreshd_lame_duck_seconds", ()) not in await samples(machine)
        await asyncio.to_thread(leave_note, tmp_path / "run", 0.25)
        assert (await samples(machine))["refreshd_lame_duck_seconds", ()] == 0.25
        for damaged in ("", "nan", "soon"):
            (tmp_path / "run" / "lame-duck-seconds").write_text(damaged)
            assert ("refreshd_lame_duck_seconds", ()) not in await samples(machine)
