"""Base64, as cel-go's library ``encoders``, version 1."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .errors import EvaluationError
from .library import Function, library
from .operators import no_overload, shown

if TYPE_CHECKING:
    from .evaluation import Evaluation
    from .values import Value

from .evaluation import CHARACTERS_PER_UNIT

# Padding may be left out, line ends are passed over; as Go's decoder.
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2,3}|[A-Za-z0-9+/]{2}==|"
                     r"[A-Za-z0-9+/]{3}=)?")  # fmt: skip


def _decode(state: Evaluation, text: Value) -> bytes:
    from base64 import b64decode

    if type(text) is not str:
        raise no_overload("base64.decode", text)
    state.charge(len(text) // CHARACTERS_PER_UNIT)
    if "\n" in text or "\r" in text:
        text = text.replace("\r", "").replace("\n", "")
    if _BASE64.fullmatch(text) is None:
        raise EvaluationError(f"not base64: {shown(text)}")
    return b64decode(text + "=" * (-len(text) % 4))


def _encode(state: Evaluation, value: Value) -> str:
    from base64 import b64encode

    if type(value) is not bytes:
        raise no_overload("base64.encode", value)
    state.charge(len(value) // CHARACTERS_PER_UNIT)
    return b64encode(value).decode("ascii")


LIBRARY = library(
    (
        Function("base64.decode", ("(string) -> bytes",), _decode),
        Function("base64.encode", ("(bytes) -> string",), _encode),
    )
)
