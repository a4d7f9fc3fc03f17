"""The TypeScript declaration of a table of procedures: the type `AppRouter` that a typed client is made with.

It is written from the JSON schemas of the models that validate and answer, so it says what they do.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import TypeAdapter

from daemon.triggers.trpc import Procedures

_HEAD = """\
// The type of the tRPC router of {of}, for `createTRPCClient<AppRouter>` of @trpc/client 11. Written by a program.
""".format
_SHARED = """\
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
"""
_PRIMITIVES = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}

Schema = Mapping[str, Any]
Mode = Literal["validation", "serialization"]


def declaration(procedures: Procedures, of: str = "refreshd") -> str:
    asked: list[tuple[str, Mode, TypeAdapter[Any]]] = []
    for name, procedure in procedures.items():
        if procedure.input is not None:
            asked.append((name, "validation", TypeAdapter(procedure.input)))
        if procedure.output is not None:
            asked.append((name, "serialization", TypeAdapter(procedure.output)))
    schemas, shared = TypeAdapter.json_schemas(asked, by_alias=True, ref_template="{model}")
    definitions: dict[str, Schema] = shared.get("$defs", {})
    inputs = {name: _input(schemas[name, "validation"], definitions) for name, mode, _ in asked if mode == "validation"}
    outputs = {name: type_of(schemas[name, "serialization"]) for name, mode, _ in asked if mode == "serialization"}
    tree: dict[str, Any] = {}
    for name, procedure in procedures.items():
        *folders, last = name.split(".")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[last] = f"{procedure.kind.title()}<{inputs.get(name, 'void')}, {outputs.get(name, 'unknown')}>"
    blocks = [_HEAD(of=of) + _SHARED, *(_defined(name, schema) for name, schema in definitions.items())]
    return "\n".join([*blocks, f"export type AppRouter = BuiltRouter<Root, {_record(tree)}>;\n"])


def type_of(schema: Schema) -> str:  # noqa: PLR0911 - one line for each kind of schema
    """The type of one schema. Raises ValueError for what no model of ours uses."""
    match schema:
        case {"$ref": str(name)}:
            return name.replace("-", "")
        case {"const": value}:
            return json.dumps(value)
        case {"enum": list(values)}:
            return " | ".join(map(json.dumps, values))
        case {"anyOf": list(some)}:
            return " | ".join(dict.fromkeys(map(type_of, some)))
        case {"type": "array", "items": dict(items)}:
            return f"readonly {_grouped(type_of(items))}[]"
        case {"type": "object", "properties": _}:
            return "{\n" + "\n".join(_properties(schema)) + "\n}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"Record<string, {type_of(values)}>"
        case {"type": "object"}:
            return "Record<string, unknown>"
        case {"type": str(name)} if name in _PRIMITIVES:
            return _PRIMITIVES[name]
        case _:
            raise ValueError(f"no TypeScript is known for {sorted(schema)}")


def _grouped(text: str) -> str:
    return f"({text})" if " " in text else text


def _input(schema: Schema, definitions: Mapping[str, Schema]) -> str:
    """What may be left out as a whole is what may be empty."""
    name = type_of(schema)
    return name if definitions[schema["$ref"]].get("required") else f"{name} | undefined"


def _defined(name: str, schema: Schema) -> str:
    text = type_of(schema)
    keyword = f"interface {name.replace('-', '')} " if text.startswith("{") else f"type {name.replace('-', '')} = "
    return "\n".join([*_comment(schema, ""), f"export {keyword}{text}{'' if text.startswith('{') else ';'}\n"])


def _properties(schema: Schema) -> Iterator[str]:
    for name, of in schema["properties"].items():
        yield from _comment(of, "  ")
        yield f"  {name}{'' if name in schema.get('required', ()) else '?'}: {type_of(of)};"


def _comment(schema: Schema, indent: str) -> list[str]:
    text = " ".join(schema.get("description", "").split()).replace("*/", "* /")
    return [f"{indent}/** {text} */"] if text else []


def _record(tree: Mapping[str, Any], indent: str = "") -> str:
    inner = f"{indent}  "
    lines = (f"{inner}{name}: {_record(of, inner) if isinstance(of, dict) else of};" for name, of in tree.items())
    return "{\n" + "\n".join(lines) + f"\n{indent}}}"
