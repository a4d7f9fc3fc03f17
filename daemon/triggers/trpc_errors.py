"""The error codes of tRPC, and how our errors map to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from daemon.errors import RefreshdError
from daemon.metrics.tally import note_refusal


class Code(Enum):
    """Name → HTTP status and JSON-RPC number. All 5xx share a number: clients tell them apart by name."""

    PARSE_ERROR = (400, -32700)
    BAD_REQUEST = (400, -32600)
    UNAUTHORIZED = (401, -32001)
    PAYMENT_REQUIRED = (402, -32002)
    FORBIDDEN = (403, -32003)
    NOT_FOUND = (404, -32004)
    METHOD_NOT_SUPPORTED = (405, -32005)
    TIMEOUT = (408, -32008)
    CONFLICT = (409, -32009)
    PRECONDITION_FAILED = (412, -32012)
    PAYLOAD_TOO_LARGE = (413, -32013)
    UNSUPPORTED_MEDIA_TYPE = (415, -32015)
    UNPROCESSABLE_CONTENT = (422, -32022)
    PRECONDITION_REQUIRED = (428, -32028)
    TOO_MANY_REQUESTS = (429, -32029)
    CLIENT_CLOSED_REQUEST = (499, -32099)
    INTERNAL_SERVER_ERROR = (500, -32603)
    NOT_IMPLEMENTED = (501, -32603)
    BAD_GATEWAY = (502, -32603)
    SERVICE_UNAVAILABLE = (503, -32603)
    GATEWAY_TIMEOUT = (504, -32603)

    @property
    def status(self) -> int:
        return self.value[0]

    @property
    def number(self) -> int:
        return self.value[1]


# malformed input is BAD_REQUEST in this protocol; PARSE_ERROR has the same status and a use of its own
_BY_STATUS = {code.status: code for code in Code if code is not Code.PARSE_ERROR}
_LOWEST_SERVER_ERROR = 500


@dataclass(eq=False)
class TrpcError(Exception):
    """A call that gets an error for its answer; `refreshd_code` is the code of the RefreshdError behind it, if any."""

    code: Code
    message: str
    refreshd_code: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self) -> str:
        return self.message


def from_refreshd(error: RefreshdError) -> TrpcError:
    """A status that tRPC has no name for becomes the general one of its class (507: INTERNAL_SERVER_ERROR)."""
    note_refusal(error.code)
    general = Code.INTERNAL_SERVER_ERROR if error.status >= _LOWEST_SERVER_ERROR else Code.BAD_REQUEST
    return TrpcError(_BY_STATUS.get(error.status, general), str(error), error.code, error.headers)
