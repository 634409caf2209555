"""The Sparkplug B payload as protobuf messages, built from the layout in the specification.

Sparkplug 3.0.0, 6.4.1. Only what this node sends or reads; what else a payload holds is skipped. The classes
are made at run time, so no generated code has to fit the installed protobuf.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "linewatch.sparkplug"

# Message: field, number, type, or the message of a repeated or single field.
_LAYOUT: dict[str, dict[str, tuple[int, object]]] = {
    "Payload": {
        "timestamp": (1, _Field.TYPE_UINT64),
        "metrics": (2, ["Metric"]),
        "seq": (3, _Field.TYPE_UINT64),
    },
    "Metric": {
        "name": (1, _Field.TYPE_STRING),
        "alias": (2, _Field.TYPE_UINT64),
        "timestamp": (3, _Field.TYPE_UINT64),
        "datatype": (4, _Field.TYPE_UINT32),
        "is_historical": (5, _Field.TYPE_BOOL),
        "is_null": (7, _Field.TYPE_BOOL),
        "int_value": (10, _Field.TYPE_UINT32),
        "long_value": (11, _Field.TYPE_UINT64),
        "float_value": (12, _Field.TYPE_FLOAT),
        "double_value": (13, _Field.TYPE_DOUBLE),
        "boolean_value": (14, _Field.TYPE_BOOL),
        "string_value": (15, _Field.TYPE_STRING),
        "template_value": (18, "Template"),
    },
    "Template": {
        "version": (1, _Field.TYPE_STRING),
        "metrics": (2, ["Metric"]),
        "template_ref": (4, _Field.TYPE_STRING),
        "is_definition": (5, _Field.TYPE_BOOL),
    },
}


def _payload_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="linewatch/sparkplug.proto", package=_PACKAGE)
    for name, fields in _LAYOUT.items():
        message = file.message_type.add(name=name)
        oneof = any(field.endswith("_value") for field in fields)
        if oneof:
            message.oneof_decl.add(name="value")
        for field, (number, kind) in fields.items():
            single = not isinstance(kind, list)
            added = message.field.add(
                name=field,
                number=number,
                label=_Field.LABEL_OPTIONAL if single else _Field.LABEL_REPEATED,
            )
            if isinstance(kind, int):
                added.type = kind
            else:
                added.type = _Field.TYPE_MESSAGE
                added.type_name = f".{_PACKAGE}.{kind if isinstance(kind, str) else kind[0]}"  # type: ignore[index]
            if field.endswith("_value"):
                added.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Payload"))


Payload = _payload_class()
"""The class of a whole payload."""


def parse(data: bytes) -> Any:
    """Return the Payload in `data`. Raises ValueError if there is none."""
    payload = Payload()
    try:
        payload.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError) as error:
        raise ValueError("it is no Sparkplug B payload") from error
    return payload
