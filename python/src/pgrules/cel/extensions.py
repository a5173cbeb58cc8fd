"""The names of the extension libraries' functions, and where each is.

The libraries are those of cel-go's package ``ext``, and its optional values. A
library is imported when an expression first uses one of its functions, so that the
others cost a session nothing; a test holds this table to what the modules define.
"""

from __future__ import annotations

from typing import Final

_MODULES = {
    "ext_encoders": "base64.decode base64.encode",
    "ext_format": "format",
    "ext_lists": "distinct flatten lists.range reverse slice sort",
    "ext_math": (
        "math.abs math.bitAnd math.bitNot math.bitOr math.bitShiftLeft "
        "math.bitShiftRight math.bitXor math.ceil math.floor math.greatest "
        "math.isFinite math.isInf math.isNaN math.least math.round math.sign "
        "math.sqrt math.trunc"
    ),
    "ext_network": (
        "cidr containsCIDR containsIP family ip ip.isCanonical isCIDR isGlobalUnicast "
        "isIP isLinkLocalMulticast isLinkLocalUnicast isLoopback isUnspecified masked "
        "prefixLength"
    ),
    "ext_optional": (
        "_[?_] first hasValue last optional.none optional.of optional.ofNonZeroValue "
        "optional.unwrap or orValue unwrapOpt value"
    ),
    "ext_regex": "regex.extract regex.extractAll regex.replace",
    "ext_sets": "sets.contains sets.equivalent sets.intersects",
    "ext_strings": (
        "charAt indexOf join lastIndexOf lowerAscii replace split "
        "strings.quote substring trim upperAscii"
    ),
}

EXTENSIONS: Final = {
    name: module for module, names in _MODULES.items() for name in names.split()
}
"""The module of each function."""
