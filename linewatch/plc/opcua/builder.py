"""Add nodes to asyncua's address space."""

from collections.abc import Sequence
from typing import Any

from asyncua import ua
from asyncua.server.address_space import NodeManagementService

_IDS = ua.ObjectIds
BUILT_IN_MAX = 25  # Data types up to this number are variant types, too.

Argument = tuple[str, ua.NodeId] | tuple[str, ua.NodeId, bool]
"""Name, data type, and whether it is an array."""


class Builder:
    """Adds nodes; the server's own asserts that each is new and has a parent."""

    def __init__(self, service: NodeManagementService) -> None:
        self._service = service

    def object(
        self,
        parent: ua.NodeId,
        node_id: ua.NodeId,
        name: ua.QualifiedName,
        kind: ua.NodeId,
        *,
        reference: int = _IDS.HasComponent,
        events: bool = False,
    ) -> ua.NodeId:
        """Add an object; clients may subscribe to its `events`."""
        attributes = ua.ObjectAttributes(EventNotifier=int(events), **_texts(name))
        return self._add(parent, node_id, name, ua.NodeClass.Object, attributes, reference, kind)

    def variable(
        self,
        parent: ua.NodeId,
        node_id: ua.NodeId,
        name: ua.QualifiedName,
        data_type: ua.NodeId,
        value: ua.Variant,
        *,
        kind: int | ua.NodeId = _IDS.BaseDataVariableType,
        reference: int = _IDS.HasComponent,
    ) -> ua.NodeId:
        """Add a variable that clients may read."""
        array = value.is_array or isinstance(value.Value, list)
        attributes = ua.VariableAttributes(
            Value=value,
            DataType=data_type,
            ValueRank=ua.ValueRank.OneDimension if array else ua.ValueRank.Scalar,
            ArrayDimensions=[0] if array else [],
            AccessLevel=ua.AccessLevel.CurrentRead.mask,
            UserAccessLevel=ua.AccessLevel.CurrentRead.mask,
            Historizing=False,
            **_texts(name),
        )
        type_id = kind if isinstance(kind, ua.NodeId) else ua.NodeId(kind)
        return self._add(parent, node_id, name, ua.NodeClass.Variable, attributes, reference, type_id)

    def property(
        self, parent: ua.NodeId, node_id: ua.NodeId, name: str, data_type: ua.NodeId, value: ua.Variant
    ) -> ua.NodeId:
        """Add a property of the standard namespace."""
        return self.variable(
            parent, node_id, ua.QualifiedName(name), data_type, value,
            kind=_IDS.PropertyType, reference=_IDS.HasProperty,
        )  # fmt: skip

    def method(
        self,
        parent: ua.NodeId,
        node_id: ua.NodeId,
        name: ua.QualifiedName,
        takes: Sequence[Argument],
        gives: Sequence[Argument],
    ) -> ua.NodeId:
        """Add a method with its arguments."""
        attributes = ua.MethodAttributes(Executable=True, UserExecutable=True, **_texts(name))
        self._add(parent, node_id, name, ua.NodeClass.Method, attributes, _IDS.HasComponent, ua.NodeId())
        for which, arguments in (("InputArguments", takes), ("OutputArguments", gives)):
            if arguments:
                value = ua.Variant([_argument(*argument) for argument in arguments])
                path = ua.NodeId(f"{node_id.Identifier}.{which}", node_id.NamespaceIndex)
                self.property(node_id, path, which, ua.NodeId(_IDS.Argument), value)
        return node_id

    def object_type(
        self, node_id: ua.NodeId, name: ua.QualifiedName, base: ua.NodeId, *, abstract: bool = False
    ) -> ua.NodeId:
        """Add an object or event type."""
        attributes = ua.ObjectTypeAttributes(IsAbstract=abstract, **_texts(name))
        node_class = ua.NodeClass.ObjectType
        return self._add(base, node_id, name, node_class, attributes, _IDS.HasSubtype, ua.NodeId())

    def variable_type(
        self, node_id: ua.NodeId, name: ua.QualifiedName, base: ua.NodeId, data_type: ua.NodeId
    ) -> ua.NodeId:
        """Add a variable type."""
        attributes = ua.VariableTypeAttributes(DataType=data_type, IsAbstract=False, **_texts(name))
        node_class = ua.NodeClass.VariableType
        return self._add(base, node_id, name, node_class, attributes, _IDS.HasSubtype, ua.NodeId())

    def data_type(
        self, node_id: ua.NodeId, name: ua.QualifiedName, base: ua.NodeId, definition: Any = None
    ) -> ua.NodeId:
        """Add a data type, with its definition if it is a structure or an enumeration."""
        attributes = ua.DataTypeAttributes(IsAbstract=False, DataTypeDefinition=definition, **_texts(name))
        node_class = ua.NodeClass.DataType
        return self._add(base, node_id, name, node_class, attributes, _IDS.HasSubtype, ua.NodeId())

    def encoding(self, data_type: ua.NodeId, node_id: ua.NodeId) -> None:
        """Add the binary encoding of a structure."""
        name, kind = ua.QualifiedName("Default Binary"), ua.NodeId(_IDS.DataTypeEncodingType)
        self.object(data_type, node_id, name, kind, reference=_IDS.HasEncoding)

    def refer(self, source: ua.NodeId, reference: int, target: ua.NodeId) -> None:
        """Add a reference in both directions."""
        for start, end, forward in ((source, target, True), (target, source, False)):
            item = ua.AddReferencesItem(
                SourceNodeId=start,
                ReferenceTypeId=ua.NodeId(reference),
                IsForward=forward,
                TargetNodeId=end,
                TargetNodeClass=ua.NodeClass.Unspecified,
            )
            for code in self._service.add_references([item]):
                code.check()

    def _add(
        self,
        parent: ua.NodeId,
        node_id: ua.NodeId,
        name: ua.QualifiedName,
        node_class: ua.NodeClass,
        attributes: Any,
        reference: int,
        kind: ua.NodeId,
    ) -> ua.NodeId:
        item = ua.AddNodesItem(
            ParentNodeId=parent,
            ReferenceTypeId=ua.NodeId(reference),
            RequestedNewNodeId=node_id,
            BrowseName=name,
            NodeClass=node_class,
            NodeAttributes=attributes,
            TypeDefinition=kind,
        )
        (result,) = self._service.add_nodes([item])
        result.StatusCode.check()
        return node_id


def variant_type(data_type: ua.NodeId) -> ua.VariantType:
    """Return how a data type is sent: a built-in type, or one that is derived from it."""
    number = data_type.Identifier
    if data_type.NamespaceIndex == 0 and isinstance(number, int):
        if number <= BUILT_IN_MAX:
            return ua.VariantType(number)
        derived = {_IDS.UtcTime: ua.VariantType.DateTime, _IDS.Duration: ua.VariantType.Double}
        return derived.get(number, ua.VariantType.ExtensionObject)
    base = ua.basetype_by_datatype.get(data_type)
    if base is not None:
        return ua.VariantType[base]
    return ua.VariantType.Int32 if data_type in ua.enums_by_datatype else ua.VariantType.ExtensionObject


def _texts(name: ua.QualifiedName) -> dict[str, ua.LocalizedText]:
    text = ua.LocalizedText(name.Name)
    return {"DisplayName": text, "Description": text}


def _argument(name: str, data_type: ua.NodeId, array: bool = False) -> ua.Argument:
    return ua.Argument(
        Name=name,
        DataType=data_type,
        ValueRank=ua.ValueRank.OneDimension if array else ua.ValueRank.Scalar,
        ArrayDimensions=[0] if array else [],
    )
