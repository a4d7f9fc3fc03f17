"""What a command says: a text or one JSON document on standard output, failures in words on standard error."""

import json
import sys
from collections.abc import Mapping
from typing import Any


class Output:
    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.quiet = quiet
        self._as_json = as_json

    def result(self, text: str, document: Mapping[str, Any]) -> None:
        """`quiet` keeps the text back, never the document that was asked for."""
        if self._as_json:
            self._document(document)
        elif not self.quiet:
            sys.stdout.write(f"{text}\n")

    def failure(self, text: str, document: Mapping[str, Any]) -> None:
        self.complaint(text)
        if self._as_json:
            self._document(document)

    def complaint(self, text: str) -> None:
        sys.stderr.write(f"refreshd: {text}\n")
        sys.stderr.flush()

    def _document(self, document: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
